import math

import pytest
import torch
from fine_tunes import family, vector
from hypothesis import given, settings
from hypothesis import strategies as st

from weightlens.merge.method import merged
from weightlens.merge.methods.multislerp import MultiSlerp


# Directions (1, 0) and (0, 1), weights 3/4 and 1/4: the chord's point (0.75, 0.25) is √0.625 long,
# so that m = (0.94868, 0.31623); the mean length is 3/4 · 2 + 1/4 · 4 = 2.5.
def test_the_weighted_direction_and_the_weighted_length() -> None:
    result = merged(MultiSlerp(weight=(3.0, 1.0)), [vector(2, 0), vector(0, 4)])
    assert torch.allclose(result, vector(0.75, 0.25) * 2.5 / math.sqrt(0.625))


# weights as they are, 3 and 1: the same direction, the length 3 · 2 + 1 · 4 = 10
def test_without_normalize_weights_the_length_grows_with_the_weights() -> None:
    method = MultiSlerp(weight=(3.0, 1.0), normalize_weights=False)
    result = merged(method, [vector(2, 0), vector(0, 4)])
    assert torch.allclose(result, vector(0.75, 0.25) * 10 / math.sqrt(0.625))


def test_with_a_base_it_is_the_deltas() -> None:
    base, method = vector(1, 1), MultiSlerp(weight=(3.0, 1.0))
    result = merged(method, [vector(3, 1), vector(1, 5)], base)
    assert torch.allclose(result, base + merged(method, [vector(2, 0), vector(0, 4)]))


# v = Σ w_i u_i − ⟨Σ w_i u_i, m⟩ m, and m is the direction of Σ w_i u_i: v = 0, whatever the weights
@settings(deadline=None, max_examples=30)
@given(st.integers(0, 1000), st.tuples(st.floats(0.1, 2), st.floats(0.1, 2), st.floats(-0.3, 2)))
def test_the_step_from_the_chord_is_zero(seed: int, weight: tuple[float, float, float]) -> None:
    of = family((6, 7), seed=seed, size=2.0)
    result = merged(MultiSlerp(weight=weight), of.tuned).double()
    vectors = torch.stack(of.tuned).double()
    shares = torch.tensor(weight, dtype=torch.float64) / sum(weight)
    lengths = vectors.flatten(1).norm(dim=1)
    chord = torch.einsum("i,ijk->jk", shares / lengths, vectors)
    expected = chord / chord.norm() * (shares * lengths).sum()
    assert torch.allclose(result, expected, rtol=1e-5, atol=1e-7)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 1000), st.permutations(range(3)))
def test_the_order_of_the_sources_does_not_matter(seed: int, order: list[int]) -> None:
    of, weights = family((4, 5), seed=seed), (0.3, 0.9, 0.2)
    first = merged(MultiSlerp(weight=weights), of.tuned, of.base)
    method = MultiSlerp(weight=tuple(weights[i] for i in order))
    result = merged(method, [of.tuned[i] for i in order], of.base)
    assert torch.allclose(result, first, rtol=1e-6, atol=1e-8)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 1000), st.floats(0.1, 3), st.floats(0.1, 3))
def test_a_model_with_itself_is_that_model(seed: int, first: float, second: float) -> None:
    source = family((4, 5), 1, seed=seed).base
    result = merged(MultiSlerp(weight=(first, second)), [source, source])
    assert torch.allclose(result, source, rtol=1e-6, atol=0)


def test_one_source_is_itself() -> None:
    of = family((4, 5), 1)
    assert torch.equal(merged(MultiSlerp(weight=(0.3,)), of.tuned), of.tuned[0])


# two opposite directions of equal weight: the line between them, 1/2 · 2 − 1/2 · 4
def test_two_directions_that_cancel_are_mixed_along_the_line() -> None:
    result = merged(MultiSlerp(weight=(1.0, 1.0)), [vector(2, 0), vector(-4, 0)])
    assert result.tolist() == [-1, 0]


def test_three_directions_that_cancel_are_refused() -> None:
    sources = [vector(2, 0), vector(-2, 0), vector(-2, 0)]
    with pytest.raises(ValueError, match="directions cancel"):
        merged(MultiSlerp(weight=(2.0, 1.0, 1.0)), sources)


def test_where_no_source_moved_the_base_stays() -> None:
    base = vector(1, 2)
    assert torch.equal(merged(MultiSlerp(weight=(1.0,) * 3), [base] * 3, base), base)


# (0, 0) has no direction and no length: (2, 0) alone gives the direction, 1/2 · 2 the length
def test_a_source_of_zeros_takes_part_with_its_length_alone() -> None:
    result = merged(MultiSlerp(weight=(1.0, 1.0)), [vector(2, 0), vector(0, 0)])
    assert torch.allclose(result, vector(1, 0))


def test_weights_that_sum_to_zero_are_refused() -> None:
    with pytest.raises(ValueError, match="sum to zero"):
        MultiSlerp(weight=(1.0, -1.0))
