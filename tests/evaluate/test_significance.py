"""Sentences about differences: each true of the numbers it is made from, and none says too much."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from weightlens.evaluate.significance import (
    Family,
    finding,
    holm,
    points,
    sentence,
    signed_points,
)
from weightlens.evaluate.statistics import Difference, paired


def difference(
    value: float, low: float, high: float, p: float, detectable: float = 0.04
) -> Difference:
    return Difference(value, (low, high), p, detectable, a_only=9, b_only=5)


NOTHING = difference(-0.008, -0.031, 0.015, 0.51, 0.0362)
LOSS = difference(-0.062, -0.090, -0.034, 0.0003)
GAIN = difference(0.041, 0.012, 0.070, 0.012)
LEANING = difference(0.008, -0.015, 0.031, 0.51, 0.0362)


@pytest.mark.parametrize(
    ("found", "higher_is_better", "said"),
    [
        (NOTHING, True, "no detectable loss: −0.8 points, 95 % −3.1 to +1.5; "
                        "this set could have shown a loss of 4"),
        (LEANING, True, "no detectable difference: +0.8 points, 95 % −1.5 to +3.1; "
                        "this set could have shown one of 4"),
        (LOSS, True, "a loss of 6.2 points, 95 % −9.0 to −3.4 (p = 0.0003)"),
        (GAIN, True, "a gain of 4.1 points, 95 % +1.2 to +7.0 (p = 0.012)"),
        (GAIN, False, "rises by 4.1 points, 95 % +1.2 to +7.0 (p = 0.012)"),
        (LOSS, False, "falls by 6.2 points, 95 % −9.0 to −3.4 (p = 0.0003)"),
        (LEANING, False, "no detectable rise: +0.8 points, 95 % −1.5 to +3.1; "
                         "this set could have shown a rise of 4"),
        (NOTHING, False, "no detectable difference: −0.8 points, 95 % −3.1 to +1.5; "
                         "this set could have shown one of 4"),
        (difference(0.0, -0.02, 0.02, 1.0, 0.013), True,
         "no detectable loss: 0.0 points, 95 % −2.0 to +2.0; this set could have shown a loss of "
         "1.3"),
        (difference(-0.05, -0.10, -0.0004, 0.06), True,
         "perhaps a loss of 5.0 points, 95 % −10.0 to −0.04 (p = 0.060; interval and test "
         "disagree)"),
        (difference(-0.05, -0.10, 0.004, 0.04), False,
         "perhaps a fall of 5.0 points, 95 % −10.0 to +0.4 (p = 0.040; interval and test "
         "disagree)"),
        (difference(-0.3, -0.4, -0.2, 1e-9), True,
         "a loss of 30.0 points, 95 % −40.0 to −20.0 (p < 0.0001)"),
        (difference(-0.3, -0.9, 0.5, 0.7, 1.0), True,
         "no detectable loss: −30.0 points, 95 % −90.0 to +50.0; this set could not have shown "
         "any"),
    ],
)  # fmt: skip
def test_what_is_said(found: Difference, higher_is_better: bool, said: str) -> None:
    assert sentence(found, n=500, higher_is_better=higher_is_better) == said


def test_few_questions_are_told() -> None:
    assert sentence(LOSS, n=12, higher_is_better=True).endswith("(p = 0.0003); 12 questions only")
    assert sentence(NOTHING, n=1, higher_is_better=True).endswith("a loss of 4; 1 question only")
    assert "only" not in sentence(LOSS, n=30, higher_is_better=True)


def test_what_shows_alone_but_not_among_many_is_called_perhaps() -> None:
    among = Family(p=0.12, comparisons=10)
    assert finding(GAIN) == "shown"
    assert finding(GAIN, among) == "alone"
    assert sentence(GAIN, n=500, higher_is_better=True, family=among) == (
        "perhaps a gain of 4.1 points, 95 % +1.2 to +7.0 "
        "(p = 0.012, 0.12 among 10 comparisons: not shown among so many)"
    )
    kept = Family(p=0.003, comparisons=10)
    assert sentence(LOSS, n=500, higher_is_better=True, family=kept) == (
        "a loss of 6.2 points, 95 % −9.0 to −3.4 (p = 0.0003, 0.003 among 10 comparisons)"
    )
    assert sentence(LOSS, n=500, higher_is_better=True, family=Family(0.0003, 1)) == sentence(
        LOSS, n=500, higher_is_better=True
    )


@pytest.mark.parametrize(
    ("share", "written"),
    [(-0.008, "−0.8"), (0.015, "+1.5"), (0.0, "0.0"), (-1e-13, "0.0"), (-0.0002, "−0.02"),
     (0.00051, "+0.1"), (1.0, "+100.0")],
)  # fmt: skip
def test_points_have_a_true_minus_and_never_hide_which_side_of_0(
    share: float, written: str
) -> None:
    assert signed_points(share) == written
    assert points(0.0619) == "6.2"


@settings(deadline=None, max_examples=80)
@given(
    st.lists(st.sampled_from([0.0, 1.0]), min_size=1, max_size=60), st.randoms(), st.booleans()
)  # fmt: skip
def test_no_sentence_claims_that_nothing_was_lost(
    a: list[float], random: object, higher_is_better: bool
) -> None:
    b = list(a)
    random.shuffle(b)  # type: ignore[attr-defined]
    found = paired(a, b)
    said = sentence(found, n=len(a), higher_is_better=higher_is_better)
    assert "no loss" not in said
    assert "-" not in said
    # absence of evidence comes with how much would have been seen
    assert ("this set could" in said) == said.startswith("no detectable")
    if said.startswith("no detectable"):
        assert found.ci95[0] <= 0 <= found.ci95[1]
        assert found.p > 0.05


def test_a_difference_that_does_not_show_is_below_what_could_have() -> None:
    """Else the sentence would contradict itself."""
    generator = np.random.Generator(np.random.Philox(6))
    for n, share in itertools.product((20, 100, 400), (0.05, 0.2, 0.5)):
        for _ in range(40):
            a = generator.binomial(1, 0.5, n).astype(float)
            b = np.where(generator.random(n) < share, generator.binomial(1, 0.3, n), a)
            found = paired(a.tolist(), b.tolist())
            if finding(found) == "not shown":
                assert abs(found.value) < found.detectable


def test_holm_of_a_worked_example() -> None:
    # sorted 0.01, 0.02, 0.04 times 3, 2, 1: 0.03, 0.04, 0.04
    assert holm([0.02, 0.01, 0.04]) == pytest.approx([0.04, 0.03, 0.04])
    # sorted 0.03, 0.03, 0.9 times 3, 2, 1: 0.09, 0.06 (not below 0.09), 0.9
    assert holm([0.03, 0.9, 0.03]) == pytest.approx([0.09, 0.9, 0.09])
    assert holm([]) == []
    assert holm([0.7, 0.8]) == [1.0, 1.0]
    for wrong in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="beyond 0 to 1"):
            holm([0.5, wrong])


@settings(deadline=None, max_examples=60)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.floats(0.001, 0.2))
def test_holm_rejects_what_stepping_down_rejects(ps: list[float], level: float) -> None:
    """Holm's procedure as he states it: from the smallest p on, until one is above its share."""
    rejected = set()
    for rank, place in enumerate(sorted(range(len(ps)), key=lambda i: ps[i])):
        if ps[place] * (len(ps) - rank) > level:
            break
        rejected.add(place)
    assert {i for i, p in enumerate(holm(ps)) if p <= level} == rejected


def test_holm_keeps_false_claims_to_one_family_in_twenty() -> None:
    generator = np.random.Generator(np.random.Philox(13))
    ps = stats.norm.sf(np.abs(generator.standard_normal((2000, 6)))) * 2
    wrong = np.mean([min(holm(row)) <= 0.05 for row in ps.tolist()])
    assert wrong == pytest.approx(0.05, abs=0.015)
