"""Shares, means and draws: against SciPy, published numbers and their definitions."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from weightlens.errors import EvaluationError
from weightlens.evaluate.statistics import (
    clustered,
    estimate,
    mean_estimate,
    pass_at_k,
    question_means,
    seed_spread,
    skewed,
    skewed_p,
    wilson,
)


@pytest.mark.parametrize(("successes", "n"), [(0, 10), (10, 10), (3, 7), (81, 263), (1, 1)])
def test_wilson_is_scipys(successes: int, n: int) -> None:
    theirs = stats.binomtest(successes, n).proportion_ci(method="wilson")
    assert wilson(successes, n) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_wilson_of_a_worked_example() -> None:
    # Newcombe 1998 (Statist. Med. 17:857), table I: 81 of 263, Wilson 0.2553 to 0.3662
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)


def test_no_questions_have_no_interval() -> None:
    with pytest.raises(ValueError, match="no questions"):
        wilson(0, 0)


def test_fractions_of_many_questions_get_the_normal_interval() -> None:
    generator = np.random.Generator(np.random.Philox(2))
    values = generator.uniform(size=400).tolist()
    half = 1.96 * float(np.std(values, ddof=1)) / math.sqrt(400)
    mean = float(np.mean(values))
    assert estimate(values).ci95 == pytest.approx((mean - half, mean + half), abs=0.003)
    assert skewed(values) == pytest.approx((mean - half, mean + half), abs=0.003)


means_of_draws = st.integers(1, 8).flatmap(
    lambda k: st.lists(st.integers(0, k).map(lambda right: right / k), min_size=1, max_size=40)
)


@settings(deadline=None, max_examples=60)
@given(means_of_draws)
def test_the_interval_holds_its_mean_and_mirrors_with_the_verdicts(values: list[float]) -> None:
    low, high = clustered(values)
    assert 0 <= low <= np.mean(values) <= high <= 1
    assert high - low > 0
    assert clustered([1 - v for v in values]) == pytest.approx((1 - high, 1 - low), abs=1e-12)
    assert clustered(values[::-1]) == pytest.approx((low, high), abs=1e-12)
    if set(values) <= {0.0, 1.0}:
        assert (low, high) == wilson(round(sum(values)), len(values))


def test_draws_that_all_fail_count_as_one_a_question() -> None:
    # eight wrong draws of one question may be one question that is too hard, eight times
    assert clustered([0.0] * 30) == wilson(0, 30)
    assert clustered([1.0]) == wilson(1, 1)
    assert math.isnan(estimate([0.5]).stderr)
    low, high = clustered([0.5])
    assert low < 0.2 < 0.8 < high


def test_the_effective_sample_size_of_a_worked_example() -> None:
    # 4 questions with means 0, 1/2, 1/2, 1: m = 1/2, var = 1/8, D = (1/8) / (1/4) = 1/2; three
    # questions are not 0 (and three not 1), so D becomes (3/2 + 2) / (3 + 2) = 0.7: Wilson with
    # n = 4/0.7. At m = 1/2 its half width is z/(2 sqrt(n + z²))
    half = 1.959964 / (2 * math.sqrt(4 / 0.7 + 1.959964**2))
    assert clustered([0.0, 0.5, 0.5, 1.0]) == pytest.approx((0.5 - half, 0.5 + half), abs=1e-6)


def test_verdicts_beyond_0_to_1_are_refused() -> None:
    for values in ([0.5, 1.2], [-0.1], [math.nan]):
        with pytest.raises(ValueError, match="beyond 0 to 1"):
            estimate(values)
    with pytest.raises(ValueError, match="no questions"):
        estimate([])


def test_the_standard_error_is_that_of_millers_clusters() -> None:
    """Miller 2024, arXiv:2411.00640, section 2.2, summed as it stands there: the questions are the
    clusters, their draws the items. His variance divides by n, ours by n - 1."""
    generator = np.random.Generator(np.random.Philox(11))
    n, k = 40, 8
    draws = generator.binomial(1, generator.beta(1, 2, size=(n, 1)), size=(n, k)).astype(float)
    centred = draws - draws.mean()
    independent = float((centred**2).sum()) / (n * k) ** 2
    between = sum(
        row[i] * row[j] for row in centred for i in range(k) for j in range(k) if i != j
    ) / (n * k) ** 2  # fmt: skip
    theirs = math.sqrt(independent + between)
    assert estimate(draws.mean(axis=1).tolist()).stderr == pytest.approx(
        theirs * math.sqrt(n / (n - 1))
    )


@pytest.mark.parametrize("draws", [1, 2, 5, 10])
def test_pass_at_k_is_the_share_of_subsets_with_a_right_answer(draws: int) -> None:
    for correct in range(draws + 1):
        answers = [True] * correct + [False] * (draws - correct)
        for k in range(1, draws + 1):
            subsets = [any(subset) for subset in itertools.combinations(answers, k)]
            assert pass_at_k(correct, draws, k) == pytest.approx(np.mean(subsets), abs=1e-15)


def test_pass_at_k_is_without_bias() -> None:
    # sum over c of Binomial(c; 8, 0.3) pass@3(c) is the chance 1 - 0.7³ that one of three is right
    expected = sum(stats.binom.pmf(c, 8, 0.3) * pass_at_k(c, 8, 3) for c in range(9))
    assert expected == pytest.approx(1 - 0.7**3)


def test_pass_at_k_of_many_draws_neither_overflows_nor_cancels() -> None:
    assert pass_at_k(1, 10**5, 7) == pytest.approx(7e-5, rel=1e-12)
    assert pass_at_k(99_999, 10**5, 7) == 1.0
    for impossible in ((3, 2, 1), (-1, 2, 1), (1, 2, 3), (1, 2, 0)):
        with pytest.raises(ValueError, match="right among"):
            pass_at_k(*impossible)


def test_the_spread_by_seed_of_a_worked_example() -> None:
    # means by draw: (1 + 0)/2 = 1/2, (1 + 1)/2 = 1 and (0 + 0)/2 = 0; their variance is 1/4
    assert seed_spread([[1.0, 1.0, 0.0], [0.0, 1.0, 0.0]]) == pytest.approx(0.5)
    assert math.isnan(seed_spread([[1.0], [0.0]]))
    with pytest.raises(ValueError, match="different numbers of draws"):
        seed_spread([[1.0], [0.0, 1.0]])


def test_questions_with_unequal_draws_have_no_mean() -> None:
    assert question_means({"a": [1.0, 0.0], "b": [0.0, 0.0]}) == {"a": 0.5, "b": 0.0}
    with pytest.raises(EvaluationError, match="question b has 1 draws where others have 2"):
        question_means({"a": [1.0, 0.0], "b": [1.0]})
    with pytest.raises(EvaluationError, match="question a has 0 draws"):
        question_means({"a": []})


def test_halls_interval_undoes_its_transformation() -> None:
    values = [0.1, 0.2, 0.2, 0.3, 0.5, 0.9, 2.5, 0.4]
    n, mean, s = 8, float(np.mean(values)), float(np.std(values, ddof=1))
    g, t = float(stats.skew(values)), float(stats.t.ppf(0.975, 7))
    for limit, expected in zip(skewed(values), (t, -t), strict=True):
        u = (mean - limit) / s
        transformed = u + g * u**2 / 3 + g**2 * u**3 / 27 + g / (6 * n)
        assert transformed * math.sqrt(n) == pytest.approx(expected)


@settings(deadline=None, max_examples=80)
@given(st.lists(st.floats(-3, 9), min_size=2, max_size=12))
def test_p_is_at_most_5_percent_where_the_interval_leaves_out_0(values: list[float]) -> None:
    values = [round(v, 2) for v in values]
    low, high = skewed(values)
    if min(abs(low), abs(high)) > 1e-9 and len(set(values)) > 1:
        assert (skewed_p(values) <= 0.05) == (low > 0 or high < 0)


def test_without_skewness_halls_interval_is_students() -> None:
    values = [-3.0, -1.0, 0.0, 1.0, 3.0]
    half = float(stats.t.ppf(0.975, 4)) * math.sqrt(np.var(values, ddof=1) / 5)
    assert skewed(values) == pytest.approx((-half, half))
    shifted = [v + 1 for v in values]
    assert skewed_p(shifted) == pytest.approx(float(stats.ttest_1samp(shifted, 0).pvalue))
    assert skewed([2.0, 2.0]) == (2.0, 2.0)
    assert skewed([2.0]) == (-math.inf, math.inf)
    with pytest.raises(ValueError, match="no values"):
        mean_estimate([])
