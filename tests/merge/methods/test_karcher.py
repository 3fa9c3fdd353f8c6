import math

import torch
from fine_tunes import family, vector
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from weightlens.merge.method import merged
from weightlens.merge.methods.karcher import Karcher

DIAGONAL = math.sqrt(0.5)


def at(degrees: float, length: float = 1.0) -> Tensor:
    return vector(*(length * f(math.radians(degrees)) for f in (math.cos, math.sin)))


# On a circle the mean is the mean angle: (0° + 30° + 90°)/3 = 40°.
def test_on_a_circle_it_is_the_mean_angle() -> None:
    result = merged(Karcher(max_iter=50, tol=1e-9), [at(0), at(30), at(90)])
    assert torch.allclose(result, at(40), atol=1e-6)


# The sum of the directions, (1, 0.34730), is at 19.15°; the pulls (−19.15° − 9.15° + 150.85°)/3 =
# 40.85° are the whole way from there to the mean angle (0° + 10° + 170°)/3.
def test_on_a_circle_one_step_arrives() -> None:
    assert torch.allclose(merged(Karcher(max_iter=1), [at(0), at(10), at(170)]), at(60), atol=1e-6)


# Without a step it is the direction of the sum (1 + cos 30°, sin 30° + 1) = (1.86603, 1.5):
# atan(1.5/1.86603) = 38.794°.
def test_without_a_step_it_is_the_direction_of_the_sum() -> None:
    result = merged(Karcher(max_iter=0), [at(0), at(30), at(90)])
    assert torch.allclose(result, at(38.794), atol=1e-5)


# at right angles the middle, and the mean (1 + 3)/2 of the lengths
def test_the_length_is_the_mean_length() -> None:
    result = merged(Karcher(), [vector(1, 0), vector(0, 3)])
    assert torch.allclose(result, 2 * vector(DIAGONAL, DIAGONAL))


# a zero tensor has no direction, but a length that counts: (4 + 0)/2
def test_a_tensor_of_zeros_shortens_the_mean() -> None:
    assert torch.allclose(merged(Karcher(), [vector(4, 0), vector(0, 0)]), vector(2, 0))


# Opposite directions cancel: the first is taken as the beginning, and its opposite, at 180°, pulls
# along nothing; what is left is the first.
def test_of_two_opposite_tensors_the_first_direction_is_taken() -> None:
    assert torch.allclose(merged(Karcher(), [vector(3, 0), vector(-3, 0)]), vector(3, 0))


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 1000))
def test_the_pulls_towards_the_sources_cancel_at_the_mean(seed: int) -> None:
    of = family((4, 5), seed=seed, size=2.0)
    mean = merged(Karcher(max_iter=200, tol=1e-9), of.tuned).double().flatten()
    mean = mean / mean.norm()
    pull = torch.zeros_like(mean)
    for tuned in of.tuned:
        unit = tuned.double().flatten() / tuned.double().norm()
        cosine = float(unit @ mean)
        theta = math.acos(max(-1.0, min(1.0, cosine)))
        pull += theta / math.sin(theta) * (unit - cosine * mean)
    assert float(pull.norm()) < 1e-5


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 1000), st.permutations(range(3)))
def test_the_order_of_the_sources_does_not_matter(seed: int, order: list[int]) -> None:
    of = family((4, 5), seed=seed, size=1.0)
    first = merged(Karcher(), of.tuned)
    result = merged(Karcher(), [of.tuned[i] for i in order])
    assert torch.allclose(result, first, rtol=1e-5, atol=1e-7)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 1000), st.integers(1, 4))
def test_a_model_with_itself_is_that_model(seed: int, count: int) -> None:
    source = family((4, 5), 1, seed=seed).base
    assert torch.allclose(merged(Karcher(), [source] * count), source, rtol=1e-6, atol=0)
