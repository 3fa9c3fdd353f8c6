import math

import pytest
import torch
from fine_tunes import family, vector
from hypothesis import given, settings
from hypothesis import strategies as st

from weightlens.merge.method import merged
from weightlens.merge.methods.slerp import Slerp, slerp_factors


# at right angles sin θ = 1: the factors are sin 60° = √3/2 and sin 30° = 1/2
def test_a_third_of_the_way_along_a_quarter_circle() -> None:
    result = merged(Slerp(t=1 / 3), [vector(0, 3)], vector(2, 0))
    assert torch.allclose(result, vector(math.sqrt(3), 1.5))


# θ = 60°: sin 45°/sin 60° and sin 15°/sin 60° are 0.81650 and 0.29886; of (1, 0) and
# (1/2, √3/2) they make (0.96593, 0.25882), which is at 15° and as long as the two
def test_a_quarter_of_the_way_between_vectors_sixty_degrees_apart() -> None:
    result = merged(Slerp(t=0.25), [vector(0.5, math.sqrt(3) / 2)], vector(1, 0))
    turned = math.radians(15)
    assert torch.allclose(result, vector(math.cos(turned), math.sin(turned)), atol=1e-6)


# 1/4 · 5 + 3/4 · (−5), and 1/4 · 1 + 3/4 · 3
def test_parallel_and_opposite_tensors_are_mixed_along_the_line() -> None:
    assert merged(Slerp(t=0.75), [vector(-5, 0)], vector(5, 0)).tolist() == [-2.5, 0]
    assert merged(Slerp(t=0.75), [vector(3, 0)], vector(1, 0)).tolist() == [2.5, 0]


# a zero tensor has no direction: it counts as at right angles, sin 45° of the other is left
def test_a_tensor_of_zeros_counts_as_at_right_angles() -> None:
    result = merged(Slerp(t=0.5), [vector(2, 0)], vector(0, 0))
    assert torch.allclose(result, vector(math.sqrt(2), 0))


def test_the_ends_are_the_models_themselves() -> None:
    of = family((30, 40), 1, size=1.0)
    assert torch.equal(merged(Slerp(t=0.0), of.tuned, of.base), of.base)
    assert torch.equal(merged(Slerp(t=1.0), of.tuned, of.base), of.tuned[0])


@settings(deadline=None, max_examples=30)
@given(st.floats(-0.5, 1.5), st.integers(0, 1000))
def test_going_back_is_going_there(t: float, seed: int) -> None:
    of = family((5, 6), 1, seed=seed, size=2.0)
    there = merged(Slerp(t=t), of.tuned, of.base)
    back = merged(Slerp(t=1 - t), [of.base], of.tuned[0])
    assert torch.allclose(there, back, rtol=1e-4, atol=1e-6)


@settings(deadline=None, max_examples=30)
@given(st.floats(0, 1), st.floats(-0.99, 0.999))
def test_between_unit_vectors_the_length_stays_one(t: float, cosine: float) -> None:
    a, b = slerp_factors(cosine, t)
    assert a * a + b * b + 2 * a * b * cosine == pytest.approx(1, rel=1e-9)


@settings(deadline=None, max_examples=30)
@given(st.floats(0, 1), st.integers(0, 1000))
def test_a_model_with_itself_is_that_model(t: float, seed: int) -> None:
    base = family((5, 6), 1, seed=seed).base
    assert torch.allclose(merged(Slerp(t=t), [base], base), base, rtol=3e-7, atol=0)
