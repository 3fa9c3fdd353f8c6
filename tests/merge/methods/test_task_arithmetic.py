import pytest
import torch
from fine_tunes import dyadic, several, vector
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from weightlens.merge.method import merged
from weightlens.merge.methods.task_arithmetic import TaskArithmetic


# deltas (2, −1) and (−1, 4); 1/2 of the one and 2 of the other: (−1, 7.5); λ = 1/2: (−0.5, 3.75)
def test_the_weighted_deltas_are_added_to_the_base() -> None:
    method = TaskArithmetic.model_validate({"weight": (0.5, 2.0), "lambda": 0.5})
    assert merged(method, [vector(3, 0), vector(0, 5)], vector(1, 1)).tolist() == [0.5, 4.75]


# 1/4 and 3/4 of (4, 0) and (0, 4)
def test_normalize_makes_the_weights_sum_to_one() -> None:
    method = TaskArithmetic(weight=(1.0, 3.0), normalize=True)
    assert merged(method, [vector(4, 0), vector(0, 4)], vector(0, 0)).tolist() == [1.0, 3.0]


# base 1 − (3 − 1) = −1
def test_a_negative_weight_forgets_the_task() -> None:
    assert merged(TaskArithmetic(weight=(-1.0,)), [vector(3)], vector(1)).tolist() == [-1.0]


@settings(deadline=None, max_examples=30)
@given(dyadic(6), several(3, 6), st.permutations(range(3)))
def test_the_order_of_the_sources_does_not_matter(
    base: Tensor, sources: list[Tensor], order: list[int]
) -> None:
    weights = (0.5, 0.25, -2.0)
    first = merged(TaskArithmetic(weight=weights), sources, base)
    method = TaskArithmetic(weight=tuple(weights[i] for i in order))
    assert torch.equal(merged(method, [sources[i] for i in order], base), first)


@settings(deadline=None, max_examples=30)
@given(dyadic(6), dyadic(6))
def test_one_source_of_weight_one_is_that_source(base: Tensor, source: Tensor) -> None:
    assert torch.equal(merged(TaskArithmetic(weight=(1.0,)), [source], base), source)


@settings(deadline=None, max_examples=30)
@given(dyadic(6), several(2, 6))
def test_lambda_and_weights_count_by_their_product(base: Tensor, sources: list[Tensor]) -> None:
    one = TaskArithmetic.model_validate({"weight": (0.5, 2.0), "lambda": 0.5})
    other = TaskArithmetic(weight=(0.25, 1.0))
    assert torch.equal(merged(one, sources, base), merged(other, sources, base))


def test_weights_of_zero_leave_the_base() -> None:
    method = TaskArithmetic(weight=(0.0, 0.0))
    assert merged(method, [vector(5), vector(7)], vector(0.1)).tolist() == vector(0.1).tolist()


def test_weights_that_sum_to_zero_are_refused_where_they_would_be_divided_by() -> None:
    with pytest.raises(ValueError, match="sum to zero"):
        TaskArithmetic(weight=(1.0, -1.0), normalize=True)
    method = TaskArithmetic(weight=(1.0, -1.0))
    assert merged(method, [vector(3), vector(1)], vector(0)).tolist() == [2.0]
