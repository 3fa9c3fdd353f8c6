"""Weighted sums of deltas in factors: their laws, and hand-worked cases."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from weightlens.delta import Factored
from weightlens.merge.adapter_output import factored_sum

seeds, ranks = st.integers(0, 2**31), st.integers(1, 6)
scales = st.floats(0.05, 20) | st.floats(-20, -0.05)


def factors(seed: int, rank: int, scale: float = 1.0) -> Factored:
    generator = torch.Generator().manual_seed(seed)
    b, a = torch.randn(12, rank, generator=generator), torch.randn(rank, 17, generator=generator)
    return Factored(b, a, scale)


def close(one: Factored, other: Tensor) -> bool:
    return torch.allclose(one.dense(), other, rtol=0, atol=1e-6 * float(other.abs().max()))


@settings(deadline=None, max_examples=40)
@given(seeds, ranks, scales)
def test_a_delta_and_itself_at_a_half_each_is_the_delta(seed: int, rank: int, scale: float) -> None:
    delta = factors(seed, rank, scale)
    half = factored_sum([delta, delta], [0.5, 0.5])
    assert half is not None
    assert (half.rank, half.scale) == (rank, 1.0)
    assert close(half, delta.dense())


@settings(deadline=None, max_examples=40)
@given(seeds, ranks, ranks, scales)
def test_a_sum_has_the_summed_rank_and_does_not_depend_on_order(
    seed: int, one: int, two: int, weight: float
) -> None:
    first, second = factors(seed, one), factors(seed + 1, two, 0.5)
    total, turned = (
        factored_sum([first, second], [weight, 1.0]),
        factored_sum([second, first], [1.0, weight]),
    )
    assert total is not None and turned is not None
    assert total.rank == min(one + two, 12)
    expected = weight * first.dense() + second.dense()
    assert close(total, expected)
    assert close(turned, expected)


def test_a_sum_of_opposites_is_nothing() -> None:
    delta = factors(0, 3, 0.7)
    assert factored_sum([delta, delta], [0.3, -0.3]) is None
    assert factored_sum([], []) is None


def test_a_small_delta_is_not_lost_beside_a_large_one() -> None:
    """[1e4, 0; 0, 0] + 1e-1 at the other corner: σ = 1e4 and 1e-1, ratio 1e-5, both kept."""
    large = Factored(torch.tensor([[1e4], [0.0]]), torch.tensor([[1.0, 0.0]]))
    small = Factored(torch.tensor([[0.0], [0.1]]), torch.tensor([[0.0, 1.0]]))
    total = factored_sum([large, small], [1.0, 1.0])
    assert total is not None
    assert total.rank == 2
    assert torch.allclose(total.dense(), torch.tensor([[1e4, 0.0], [0.0, 0.1]]), rtol=1e-6)
