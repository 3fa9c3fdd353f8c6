import pytest
import torch
from fine_tunes import dyadic, several, vector
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from weightlens.merge.method import merged
from weightlens.merge.methods.ram import Ram, RamPlusTensorLocal

FIRST, SECOND, ZERO = vector(1, 0.05, 0), vector(3, 2, 0.05), vector(0, 0, 0)


# above ε = 0.1 lie 1 of the first and 3, 2 of the second: the first entry is the mean of two, the
# second belongs to one alone, the third to nobody
def test_shared_changes_are_averaged_and_lone_ones_kept_whole() -> None:
    assert merged(Ram(epsilon=0.1), [FIRST, SECOND], ZERO).tolist() == [2, 2, 0]
    assert merged(Ram(epsilon=0.1), [FIRST + 1, SECOND + 1], ZERO + 1).tolist() == [3, 3, 1]


# The second delta shares one entry and has one alone: λ = 1 + r · min(α, 1/1). With r = 1/2 and
# α = 5 its lone 2 becomes 2 · 1.5; with α = 0.2 it becomes 2 · 1.1.
def test_the_plus_form_raises_what_a_delta_has_alone() -> None:
    wide = RamPlusTensorLocal(epsilon=0.1, r=0.5, alpha=5.0)
    assert merged(wide, [FIRST, SECOND], ZERO).tolist() == [2, 3, 0]
    narrow = RamPlusTensorLocal(epsilon=0.1, r=0.5, alpha=0.2)
    assert torch.allclose(merged(narrow, [FIRST, SECOND], ZERO), vector(2, 2.2, 0))


# A delta that has nothing alone is divided by ε: α bounds it, but nothing is there to raise.
def test_a_delta_without_changes_of_its_own_is_only_averaged() -> None:
    method = RamPlusTensorLocal(r=3.0, alpha=100.0)
    assert merged(method, [vector(2, 4), vector(4, 8)], vector(0, 0)).tolist() == [3, 6]


def test_a_change_of_exactly_epsilon_is_none() -> None:
    assert merged(Ram(epsilon=0.5), [vector(0.5, -0.5, 0.625)], ZERO).tolist() == [0, 0, 0.625]


@settings(deadline=None, max_examples=30)
@given(several(3, 8))
def test_r_of_zero_is_the_plain_form(deltas: list[Tensor]) -> None:
    plain = merged(Ram(), deltas, torch.zeros(8))
    assert torch.equal(merged(RamPlusTensorLocal(r=0.0), deltas, torch.zeros(8)), plain)


@settings(deadline=None, max_examples=30)
@given(several(3, 8), st.permutations(range(3)), st.booleans())
def test_the_order_of_the_sources_does_not_matter(
    deltas: list[Tensor], order: list[int], plus: bool
) -> None:
    method = RamPlusTensorLocal() if plus else Ram()
    first = merged(method, deltas, torch.zeros(8))
    result = merged(method, [deltas[i] for i in order], torch.zeros(8))
    assert torch.allclose(result, first, rtol=1e-6, atol=1e-6)


@settings(deadline=None, max_examples=30)
@given(dyadic(8), st.integers(1, 4), st.booleans())
def test_a_model_with_itself_is_that_model(delta: Tensor, count: int, plus: bool) -> None:
    method = RamPlusTensorLocal() if plus else Ram()
    assert torch.allclose(merged(method, [delta] * count, torch.zeros(8)), delta, rtol=1e-6)


@settings(deadline=None, max_examples=30)
@given(dyadic(8))
def test_deltas_that_meet_nowhere_are_added(delta: Tensor) -> None:
    left, right = delta.clone(), delta.clone()
    left[::2], right[1::2] = 0, 0
    assert torch.equal(merged(Ram(), [left, right], torch.zeros(8)), delta)


def test_parameters_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="epsilon"):
        Ram(epsilon=-1.0)
    with pytest.raises(ValueError, match="alpha"):
        RamPlusTensorLocal(alpha=-1.0)
    with pytest.raises(ValueError, match="r"):
        RamPlusTensorLocal(r=float("nan"))
