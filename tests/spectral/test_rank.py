"""Ranks of a spectrum, and the size of a subspace."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from weightlens.spectral.rank import (
    SubspaceSize,
    effective_rank,
    energy_rank,
    participation_ratio,
    stable_rank,
)

spectra = st.lists(st.floats(0.01, 100), min_size=1, max_size=30).map(
    lambda values: torch.tensor(sorted(values, reverse=True), dtype=torch.float64)
)


def test_ranks_of_a_hand_worked_spectrum() -> None:
    # sigma = (2, 1, 1): squares 4, 1, 1 with sum 6; stable rank 6/4; participation 36 / 18;
    # q = (1/2, 1/4, 1/4), entropy = 1/2 ln 2 + 2 * 1/4 ln 4 = 1.5 ln 2, exp = 2^1.5
    sigma = torch.tensor([2.0, 1.0, 1.0])
    assert stable_rank(sigma) == pytest.approx(1.5)
    assert participation_ratio(sigma) == pytest.approx(2.0)
    assert effective_rank(sigma) == pytest.approx(2**1.5)


def test_equal_singular_values_have_full_rank_by_every_measure() -> None:
    sigma = torch.full((7,), 3.0)
    for rank in (stable_rank, participation_ratio, effective_rank):
        assert rank(sigma) == pytest.approx(7)


def test_a_zero_matrix_has_no_rank() -> None:
    zero = torch.zeros(3)
    assert all(math.isnan(r(zero)) for r in (stable_rank, participation_ratio, effective_rank))


@settings(deadline=None)
@given(spectra, st.floats(0.1, 10))
def test_ranks_lie_between_1_and_the_length_and_ignore_scale(
    sigma: torch.Tensor, scale: float
) -> None:
    for rank in (stable_rank, participation_ratio, effective_rank):
        assert 1 - 1e-9 <= rank(sigma) <= len(sigma) + 1e-9
        assert rank(sigma * scale) == pytest.approx(rank(sigma))


def test_energy_takes_the_fewest_that_reach_it() -> None:
    # squares 4, 3, 2, 1 cumulate to 4, 7, 9, 10
    squared = torch.tensor([4.0, 3.0, 2.0, 1.0])
    assert [energy_rank(squared, e) for e in (0.3, 0.4, 0.5, 0.7, 0.71, 0.9, 1.0)] == [
        1, 1, 2, 2, 3, 3, 4,
    ]  # fmt: skip


def test_all_energy_needs_no_directions_of_zeros() -> None:
    assert energy_rank(torch.tensor([5.0, 1.0, 0.0, 0.0]), 1.0) == 2


def test_a_fraction_is_rounded_and_at_least_one() -> None:
    squared = torch.ones(10)
    assert SubspaceSize("fraction", 0.26).rank(squared) == 3
    assert SubspaceSize("fraction", 0.01).rank(squared) == 1


@pytest.mark.parametrize(
    ("by", "value"), [("energy", 0.0), ("energy", 1.1), ("rank", 0), ("rank", 2.5), ("fraction", 2)]
)
def test_sizes_outside_their_range_are_refused(by: str, value: float) -> None:
    with pytest.raises(ValueError, match=by):
        SubspaceSize(by, value)  # type: ignore[arg-type]


def test_a_rank_above_the_matrix_is_refused() -> None:
    with pytest.raises(ValueError, match=r"exceeds min\(m, n\) = 4"):
        SubspaceSize("rank", 5).rank(torch.ones(4))
