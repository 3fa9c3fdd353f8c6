import math

import pytest
import torch
from fine_tunes import family, vector
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from weightlens.merge.method import merged
from weightlens.merge.methods.nuslerp import NuSlerp

ROWS = {"nuslerp_flatten": False}
COLUMNS = {"nuslerp_flatten": False, "nuslerp_row_wise": True}
HALF = math.sqrt(0.5)


def nuslerp(first: float, second: float, **vectors: bool) -> NuSlerp:
    return NuSlerp(weight=(first, second), **vectors)


# weights 1 and 2: t = 2/3; at right angles the factors are sin 30° = 1/2 and sin 60° = √3/2
def test_the_weights_say_how_far_to_go() -> None:
    result = merged(nuslerp(1.0, 2.0), [vector(2, 0), vector(0, 2)])
    assert torch.allclose(result, vector(1, math.sqrt(3)))


# the same of the deltas (2, 0) and (0, 2), from the base (1, 1)
def test_with_a_base_it_is_the_deltas_that_turn() -> None:
    result = merged(nuslerp(1.0, 2.0), [vector(3, 1), vector(1, 3)], vector(1, 1))
    assert torch.allclose(result, vector(2, 1 + math.sqrt(3)))


# Rows (1, 0) and (0, 1) are at right angles: sin 45° of each. Rows (2, 0) and (4, 0) are parallel:
# (2 + 4)/2. The columns (1, 2) and (0, 4) have the cosine 8/(√5 · 4) = 0.89443, θ = 26.565°,
# sin(θ/2)/sin θ = 1/(2 cos 13.283°) = 0.51374: 0.51374 · 1 and 0.51374 · 6; (0, 0) and (1, 0)
# count as at right angles: sin 45°.
def test_rows_or_columns_turn_each_for_itself() -> None:
    a, b = torch.tensor([[1.0, 0.0], [2.0, 0.0]]), torch.tensor([[0.0, 1.0], [4.0, 0.0]])
    by_rows = merged(nuslerp(1.0, 1.0, **ROWS), [a, b])
    assert torch.allclose(by_rows, torch.tensor([[HALF, HALF], [3, 0]]))
    by_columns = merged(nuslerp(1.0, 1.0, **COLUMNS), [a, b])
    assert torch.allclose(by_columns, torch.tensor([[0.51374, HALF], [3.08244, 0]]), atol=1e-5)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 1000), st.floats(0.1, 3), st.booleans())
def test_columns_are_the_rows_of_the_transpose(seed: int, weight: float, based: bool) -> None:
    of = family((5, 7), 2, seed=seed, size=2.0)
    base = of.base if based else None
    columns = merged(nuslerp(weight, 1.0, **COLUMNS), of.tuned, base)
    turned = [t.T.contiguous() for t in of.tuned]
    rows = merged(
        nuslerp(weight, 1.0, **ROWS), turned, None if base is None else base.T.contiguous()
    )
    assert torch.allclose(columns, rows.T, rtol=1e-6, atol=1e-7)


def test_one_row_is_the_whole_tensor() -> None:
    of = family((1, 40), 2)
    whole = merged(nuslerp(1.0, 2.0), of.tuned)
    assert torch.allclose(merged(nuslerp(1.0, 2.0, **ROWS), of.tuned), whole, rtol=1e-6)
    flat = [t.flatten() for t in of.tuned]
    for vectors in (ROWS, COLUMNS):
        result = merged(nuslerp(1.0, 2.0, **vectors), flat)
        assert torch.allclose(result, whole.flatten(), rtol=1e-6)


# three axes: rows lie along the last, columns along the first
def test_of_three_axes_rows_are_the_last_and_columns_the_first() -> None:
    of = family((3, 4, 5), 2, size=2.0)
    rows = merged(nuslerp(1.0, 2.0, **ROWS), of.tuned)
    flat = merged(nuslerp(1.0, 2.0, **ROWS), [t.reshape(12, 5) for t in of.tuned])
    assert torch.equal(rows, flat.reshape(3, 4, 5))
    columns = merged(nuslerp(1.0, 2.0, **COLUMNS), of.tuned)
    flat = merged(nuslerp(1.0, 2.0, **COLUMNS), [t.reshape(3, 20) for t in of.tuned])
    assert torch.equal(columns, flat.reshape(3, 4, 5))


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 1000), st.floats(0.1, 3))
def test_the_two_sources_may_change_places(seed: int, weight: float) -> None:
    of = family((5, 7), 2, seed=seed, size=2.0)
    first = merged(nuslerp(weight, 1.0), of.tuned)
    assert torch.allclose(merged(nuslerp(1.0, weight), of.tuned[::-1]), first, atol=1e-6)


@pytest.mark.parametrize("vectors", [{}, ROWS, COLUMNS], ids=["whole", "rows", "columns"])
def test_a_model_with_itself_is_that_model(vectors: dict[str, bool]) -> None:
    source = family((6, 8), 1).base
    result = merged(nuslerp(0.3, 0.9, **vectors), [source, source])
    assert torch.allclose(result, source, rtol=3e-7, atol=0)


# The line through opposite vectors passes through 0: 0.7 x − 0.3 x. A cosine that is off −1 by one
# rounding would divide by the sine of nearly π and give anything.
@pytest.mark.parametrize("vectors", [{}, ROWS, COLUMNS], ids=["whole", "rows", "columns"])
@pytest.mark.parametrize("seed", range(5))
def test_opposite_vectors_are_mixed_along_the_line(vectors: dict[str, bool], seed: int) -> None:
    source = family((50, 70), 1, seed=seed).base
    result = merged(nuslerp(0.7, 0.3, **vectors), [source, -source])
    assert torch.allclose(result, 0.4 * source, rtol=1e-5, atol=1e-9)


def test_weights_that_sum_to_zero_meet_half_way() -> None:
    sources: list[Tensor] = [vector(1, 0), vector(0, 1)]
    assert torch.allclose(merged(nuslerp(1.0, -1.0), sources), vector(HALF, HALF))


def test_zero_vectors_stay_zero() -> None:
    zero = torch.zeros(3, 4)
    for vectors in ({}, ROWS, COLUMNS):
        assert torch.equal(merged(nuslerp(0.5, 0.5, **vectors), [zero, zero]), zero)
