"""Two models on the same questions: against Newcombe, McNemar, SciPy and counting."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from weightlens.errors import EvaluationError
from weightlens.evaluate.statistics import (
    newcombe,
    paired,
    paired_by_question,
    paired_means,
    sign_flip_p,
    wilson,
)

verdicts = st.lists(st.sampled_from([0.0, 1.0]), min_size=2, max_size=60)


def pairs(both: int, a_only: int, b_only: int, neither: int) -> tuple[list[float], list[float]]:
    a = [1.0] * (both + a_only) + [0.0] * (b_only + neither)
    b = [1.0] * both + [0.0] * a_only + [1.0] * b_only + [0.0] * neither
    return a, b


def test_newcombe_with_independent_margins_is_the_square_and_add_interval() -> None:
    # e h = f g makes phi 0: the limits are D -+ sqrt of the Wilson distances squared and added
    a, b = pairs(both=16, a_only=24, b_only=24, neither=36)
    low, high = wilson(40, 100)
    half = math.sqrt((0.4 - low) ** 2 + (high - 0.4) ** 2)
    assert newcombe(a, b) == pytest.approx((-half, half))


def test_newcombe_covers_the_truth_nineteen_times_in_twenty() -> None:
    generator = np.random.Generator(np.random.Philox(5))
    table = (0.55, 0.10, 0.20, 0.15)  # both, a only, b only, neither: the difference is 0.10
    covered, rounds = 0, 1500
    for _ in range(rounds):
        low, high = newcombe(*pairs(*generator.multinomial(80, table).tolist()))
        covered += low <= 0.10 <= high
    assert covered / rounds == pytest.approx(0.95, abs=0.02)


def test_no_flips_leave_an_interval_and_something_to_detect() -> None:
    same = [1.0] * 30 + [0.0] * 20
    found = paired(same, same)
    assert (found.value, found.p, found.a_only, found.b_only) == (0.0, 1.0, 0, 0)
    assert found.ci95[0] < 0 < found.ci95[1]
    assert found.detectable > 0


def test_mcnemar_is_the_exact_binomial_test() -> None:
    found = paired(*pairs(both=20, a_only=9, b_only=2, neither=10))
    # two-sided: P(at most 2 or at least 9 of 11 fair flips) = 2 (1 + 11 + 55) / 2048
    assert found.p == pytest.approx(2 * (1 + 11 + 55) / 2**11)
    assert (found.value, found.a_only, found.b_only) == (pytest.approx(-7 / 41), 9, 2)


@settings(deadline=None, max_examples=40)
@given(verdicts, st.randoms(use_true_random=False))
def test_swapping_the_models_mirrors_the_difference(a: list[float], random: object) -> None:
    b = list(a)
    random.shuffle(b)  # type: ignore[attr-defined]
    there, back = paired(a, b), paired(b, a)
    assert there.value == pytest.approx(-back.value)
    assert there.ci95 == pytest.approx((-back.ci95[1], -back.ci95[0]))
    assert there.p == pytest.approx(back.p)


def test_fractions_differ_by_a_paired_test() -> None:
    generator = np.random.Generator(np.random.Philox(3))
    a = generator.uniform(size=200)
    b = a + 0.006 + 0.05 * generator.standard_normal(200)
    found = paired_means(a.tolist(), b.tolist())
    assert found.p == pytest.approx(float(stats.ttest_rel(b, a).pvalue), abs=0.015)
    theirs = stats.ttest_rel(b, a).confidence_interval()
    assert found.ci95 == pytest.approx((theirs.low, theirs.high), abs=3e-4)
    # Student's quantiles of 199 degrees of freedom at 0.975 and 0.8: 1.9720 + 0.8434
    assert found.detectable == pytest.approx(2.8154 * np.std(b - a, ddof=1) / math.sqrt(200), 1e-3)


def test_pairs_must_match() -> None:
    with pytest.raises(ValueError, match="pairs of 2 and 3"):
        paired([0.0, 1.0], [0.0, 1.0, 1.0])
    with pytest.raises(ValueError, match="pairs of 0 and 0"):
        paired([], [])
    with pytest.raises(ValueError, match="beyond 0 to 1"):
        paired([0.0, 1.5], [0.0, 1.0])


def newcombe_from_a_table(both: int, b_only: int, a_only: int, neither: int) -> tuple[float, float]:
    """Method 10 in the letters of Newcombe 1998, section 2: e, f, g, h and its phi."""
    e, f, g, h, n = both, b_only, a_only, neither, both + b_only + a_only + neither
    (l2, u2), (l3, u3) = wilson(e + f, n), wilson(e + g, n)
    p2, p3 = (e + f) / n, (e + g) / n
    cross, product = e * h - f * g, (e + f) * (g + h) * (e + g) * (f + h)
    numerator = cross - n / 2 if cross > n / 2 else 0 if cross >= 0 else cross
    phi = numerator / math.sqrt(product) if product else 0.0
    low = (p2 - l2) ** 2 - 2 * phi * (p2 - l2) * (u3 - p3) + (u3 - p3) ** 2
    high = (u2 - p2) ** 2 - 2 * phi * (u2 - p2) * (p3 - l3) + (p3 - l3) ** 2
    return p2 - p3 - math.sqrt(max(low, 0)), p2 - p3 + math.sqrt(max(high, 0))


@settings(deadline=None, max_examples=60)
@given(st.tuples(*[st.integers(0, 30)] * 4).filter(any))
def test_for_one_draw_the_interval_is_newcombes(table: tuple[int, int, int, int]) -> None:
    both, b_only, a_only, neither = table
    ours = newcombe(*pairs(both, a_only, b_only, neither))
    assert ours == pytest.approx(newcombe_from_a_table(*table), abs=1e-9)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(-3, 3), min_size=1, max_size=10))
def test_the_sign_flip_test_counts_every_exchange(thirds: list[int]) -> None:
    gaps = np.asarray(thirds) / 3
    sums = [
        abs(float(np.dot(signs, thirds)))
        for signs in itertools.product((-1, 1), repeat=len(thirds))
    ]  # fmt: skip
    expected = np.mean([found >= abs(sum(thirds)) for found in sums])
    assert sign_flip_p(gaps) == pytest.approx(float(expected))


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 40), st.integers(0, 40))
def test_the_sign_flip_test_of_single_draws_is_mcnemars(a_only: int, b_only: int) -> None:
    gaps = np.asarray([-1.0] * a_only + [1.0] * b_only + [0.0] * 5)
    p = stats.binomtest(a_only, a_only + b_only).pvalue if a_only + b_only else 1.0
    assert sign_flip_p(gaps) == pytest.approx(p)


def test_the_sign_flip_test_is_scipys_permutation_test() -> None:
    generator = np.random.Generator(np.random.Philox(4))
    eighths = generator.integers(-3, 6, size=14) / 8
    theirs = stats.permutation_test(
        (eighths,), np.sum, permutation_type="samples", n_resamples=10**6
    ).pvalue  # fmt: skip
    assert sign_flip_p(eighths) == pytest.approx(theirs)
    # irrational gaps take the sampled path: the standard error at p = 0.2 is 0.004
    assert sign_flip_p(eighths * math.sqrt(2)) == pytest.approx(theirs, abs=0.015)


def test_p_is_never_0() -> None:
    assert 0 < paired([1.0] * 3000, [0.0] * 3000).p < 1e-300
    assert paired_means([0.0] * 9, [math.pi] * 9).p == pytest.approx(2 / 2**9)
    assert 0 < paired_means([0.0, 0.0, 0.0], [1.0, 1.0, 1.0 + 1e-12]).p < 1e-10
    assert paired_means([1.0], [2.0]).p == 1.0


def test_a_difference_is_over_the_questions_that_both_have() -> None:
    a = {"q1": [1.0, 1.0], "q2": [1.0, 0.0], "q3": [0.0, 0.0], "q9": [1.0, 1.0]}
    b = {"q3": [1.0, 0.0], "q1": [0.0, 1.0], "q2": [1.0, 0.0], "q7": [0.0, 0.0], "q8": [1.0, 1.0]}
    found = paired_by_question(a, b)
    assert (found.n, found.a_left_out, found.b_left_out) == (3, 1, 2)
    assert found.left_out == (
        "questions left out: 1 asked of the first alone and 2 asked of the second alone"
    )
    assert found.difference == paired([1.0, 0.5, 0.0], [0.5, 0.5, 0.5], draws=2)
    assert paired_by_question(a, a).left_out == ""
    with pytest.raises(EvaluationError, match="share no question"):
        paired_by_question(a, {"q5": [1.0]})
