import pytest
import torch
from fine_tunes import dyadic, family, several, vector
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from weightlens.merge.method import merged
from weightlens.merge.methods.linear import Linear


# weights 1 and 3 become 1/4 and 3/4: 2/4 + 3·6/4 = 5, −4/4 + 3·0/4 = −1
def test_the_mean_has_the_weights_made_to_sum_to_one() -> None:
    result = merged(Linear(weight=(1.0, 3.0)), [vector(2, -4), vector(6, 0)])
    assert result.tolist() == [5.0, -1.0]


# 1·2 + 3·6 = 20, 1·(−4) + 3·0 = −4
def test_without_normalize_it_is_the_plain_sum() -> None:
    method = Linear(weight=(1.0, 3.0), normalize=False)
    assert merged(method, [vector(2, -4), vector(6, 0)]).tolist() == [20.0, -4.0]


# 2 and −1 sum to 1: 2·3 − 1 = 5, away from the second model
def test_a_negative_weight_moves_away() -> None:
    assert merged(Linear(weight=(2.0, -1.0)), [vector(3), vector(1)]).tolist() == [5.0]


@settings(deadline=None, max_examples=30)
@given(several(3, 6), st.permutations(range(3)))
def test_the_order_of_the_sources_does_not_matter(sources: list[Tensor], order: list[int]) -> None:
    weights = (0.5, 0.25, 2.0)
    given_first = merged(Linear(weight=weights, normalize=False), sources)
    method = Linear(weight=tuple(weights[i] for i in order), normalize=False)
    assert torch.equal(merged(method, [sources[i] for i in order]), given_first)


@settings(deadline=None, max_examples=30)
@given(dyadic(6), st.floats(0.1, 10), st.floats(0.1, 10))
def test_a_model_with_itself_is_that_model(source: Tensor, first: float, second: float) -> None:
    result = merged(Linear(weight=(first, second)), [source, source])
    assert torch.allclose(result, source, rtol=3e-7, atol=0)


def test_weights_count_by_their_proportion() -> None:
    sources = family((5, 7)).tuned
    one = merged(Linear(weight=(0.25, 0.5, 1.0)), sources)
    assert torch.equal(merged(Linear(weight=(2.0, 4.0, 8.0)), sources), one)


@pytest.mark.parametrize("weight", [(1.0, -1.0), (0.0, 0.0), (0.1, 0.2, -0.3)], ids=str)
def test_weights_that_sum_to_zero_are_refused(weight: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="sum to zero"):
        Linear(weight=weight)


def test_weights_that_sum_to_zero_are_a_difference_without_normalize() -> None:
    method = Linear(weight=(1.0, -1.0), normalize=False)
    assert merged(method, [vector(3, 1), vector(1, 4)]).tolist() == [2.0, -3.0]


def test_a_weight_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        Linear(weight=(1.0, float("nan")))
