"""Intervals and differences: against SciPy, against published numbers, and by simulation."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from weightlens.evaluate.statistics import bootstrap, estimate, newcombe, paired, wilson

verdicts = st.lists(st.sampled_from([0.0, 1.0]), min_size=2, max_size=60)


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


def test_fractions_get_a_bootstrap_interval_like_the_normal_one() -> None:
    generator = np.random.Generator(np.random.Philox(2))
    values = generator.uniform(size=400).tolist()
    low, high = bootstrap(values)
    half = 1.96 * np.std(values, ddof=1) / math.sqrt(400)
    mean = float(np.mean(values))
    assert (low, high) == pytest.approx((mean - half, mean + half), abs=0.003)
    assert estimate(values).ci95 == bootstrap(values)


def test_fractions_differ_by_a_paired_test() -> None:
    generator = np.random.Generator(np.random.Philox(3))
    a = generator.uniform(size=200)
    b = a + 0.02 + 0.05 * generator.standard_normal(200)
    found = paired(a.tolist(), b.tolist())
    expected = stats.ttest_rel(b, a).pvalue
    assert found.p < 0.01
    assert expected < 0.01
    assert found.ci95[0] < found.value < found.ci95[1]


def test_pairs_must_match() -> None:
    with pytest.raises(ValueError, match="pairs of 2 and 3"):
        paired([0.0, 1.0], [0.0, 1.0, 1.0])
