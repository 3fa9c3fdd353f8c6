import math

import pytest
import torch
from fine_tunes import family, vector
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from weightlens.merge.method import merged
from weightlens.merge.methods.model_stock import ModelStock

BASE = vector(1, 1)


def stock(*deltas: Tensor, filter_wise: bool = False) -> Tensor:
    """The delta of the merge, from a base of ones."""
    base = torch.ones_like(deltas[0])
    return merged(ModelStock(filter_wise=filter_wise), [base + d for d in deltas], base) - base


# 60° apart: cos θ = 1/2, t = 2 · 1/2 / (1 + 1/2) = 2/3, of the mean (0.75, √3/4)
def test_two_deltas_sixty_degrees_apart_keep_two_thirds() -> None:
    result = stock(vector(1, 0), vector(0.5, math.sqrt(3) / 2))
    assert torch.allclose(result, vector(0.5, math.sqrt(3) / 6), atol=1e-6)


# Pairs (1, 0)(1, 0), (1, 0)(0, 2), (1, 0)(0, 2): the mean cosine is 1/3, t = 3 · 1/3 / (1 + 2/3)
# = 3/5, of the mean (2/3, 2/3).
def test_of_three_deltas_the_mean_cosine_of_the_pairs_counts() -> None:
    result = stock(vector(1, 0), vector(1, 0), vector(0, 2))
    assert torch.allclose(result, vector(0.4, 0.4), atol=1e-6)


# at right angles cos θ = 0 and t = 0
def test_deltas_at_right_angles_leave_the_base() -> None:
    assert torch.equal(stock(vector(1, 0), vector(0, 5)), vector(0, 0))


# cos θ = −1: the denominator 1 + cos θ vanishes
def test_opposite_deltas_leave_the_base() -> None:
    assert torch.equal(stock(vector(1, 2), vector(-2, -4)), vector(0, 0))


# cos θ = −1/2 (120°): t = 2 · (−1/2)/(1/2) = −2, of the mean (0.25, √3/4)
def test_deltas_more_than_a_right_angle_apart_turn_the_mean_round() -> None:
    result = stock(vector(1, 0), vector(-0.5, math.sqrt(3) / 2))
    assert torch.allclose(result, vector(-0.5, -math.sqrt(3) / 2), atol=1e-5)


# rows: the first pair is 60° apart, the second at right angles, the third the same
def test_filter_wise_each_row_has_its_own_angle() -> None:
    s = math.sqrt(3)
    first = torch.tensor([[1.0, 0.0], [3.0, 0.0], [2.0, 1.0]])
    second = torch.tensor([[0.5, s / 2], [0.0, 1.0], [2.0, 1.0]])
    expected = torch.tensor([[0.5, s / 6], [0.0, 0.0], [2.0, 1.0]])
    assert torch.allclose(stock(first, second, filter_wise=True), expected, atol=1e-6)


def test_filter_wise_one_row_is_the_whole_tensor() -> None:
    deltas = family((40,), size=1.0).deltas
    whole = stock(*deltas)
    assert torch.allclose(stock(*deltas, filter_wise=True), whole, atol=1e-6)
    row = stock(*[d.reshape(1, 40) for d in deltas], filter_wise=True)
    assert torch.allclose(row, whole.reshape(1, 40), atol=1e-6)


@pytest.mark.parametrize("filter_wise", [False, True])
def test_a_model_with_itself_is_that_model(filter_wise: bool) -> None:
    of = family((6, 8), 1, size=0.5)
    result = merged(ModelStock(filter_wise=filter_wise), of.tuned * 3, of.base)
    assert torch.allclose(result, of.tuned[0], rtol=1e-5, atol=1e-7)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 1000), st.permutations(range(3)), st.booleans())
def test_the_order_of_the_sources_does_not_matter(
    seed: int, order: list[int], filter_wise: bool
) -> None:
    of, method = family((4, 5), seed=seed, size=1.0), ModelStock(filter_wise=filter_wise)
    first = merged(method, of.tuned, of.base)
    result = merged(method, [of.tuned[i] for i in order], of.base)
    assert torch.allclose(result, first, rtol=1e-3, atol=1e-5)


def test_rows_that_no_source_changed_stay_at_the_base() -> None:
    of = family((4, 5))
    for tuned in of.tuned:
        tuned[2] = of.base[2]
    result = merged(ModelStock(filter_wise=True), of.tuned, of.base)
    assert torch.equal(result[2], of.base[2])
