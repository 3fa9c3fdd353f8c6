import torch
from fine_tunes import dyadic, family, vector
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from weightlens.merge.method import merged
from weightlens.merge.methods.nearswap import NearSwap


# distances 0.05, 0.5 and 0 with t = 0.1: s = 1, 0.1/0.5 = 1/5 and 1: 1.05, 1 + 0.1, 1
def test_near_entries_are_swapped_and_far_ones_blended() -> None:
    result = merged(NearSwap(t=0.1), [vector(1.05, 1.5, 1)], vector(1, 1, 1))
    assert torch.allclose(result, vector(1.05, 1.1, 1))


# s |w_1 − w_0| = min(t, |w_1 − w_0|), in the direction of the other model
@settings(deadline=None, max_examples=30)
@given(dyadic(8), dyadic(8), st.floats(0, 9))
def test_no_entry_moves_further_than_t(base: Tensor, other: Tensor, t: float) -> None:
    moved = merged(NearSwap(t=t), [other], base) - base
    expected = (other - base).clamp(-t, t)
    assert torch.allclose(moved, expected, rtol=1e-5, atol=1e-5)


def test_zero_leaves_the_base_and_a_large_t_takes_the_other() -> None:
    of = family((5, 6), 1)
    assert torch.equal(merged(NearSwap(t=0.0), of.tuned, of.base), of.base)
    assert torch.equal(merged(NearSwap(t=100.0), of.tuned, of.base), of.tuned[0])
    assert torch.equal(merged(NearSwap(t=-1.0), of.tuned, of.base), of.base)


@settings(deadline=None, max_examples=30)
@given(dyadic(8), st.floats(0, 1))
def test_a_model_with_itself_is_that_model(base: Tensor, t: float) -> None:
    assert torch.allclose(merged(NearSwap(t=t), [base], base), base, rtol=3e-7, atol=0)
