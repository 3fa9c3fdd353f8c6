import numpy as np
import pytest
import torch
from fine_tunes import dyadic, family, several, vector
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from weightlens.merge.method import merged
from weightlens.merge.methods.ties import Ties

ZERO = vector(0, 0, 0, 0)
FIRST, SECOND = vector(4, -3, 1, -0.5), vector(-2, -5, 3, 0.25)


def ties(**parameters: object) -> Ties:
    return Ties.model_validate(parameters)


# k = 2 of 4: (4, −3, 0, 0) and (0, −5, 3, 0); the sums (4, −8, 3, 0) elect +, −, +, +; the means of
# what agrees are 4, (−3 − 5)/2, 3, and 0 where nothing is left
def test_trim_elect_and_mean() -> None:
    method = ties(weight=(1, 1), density=(0.5, 0.5))
    assert merged(method, [FIRST, SECOND], ZERO).tolist() == [4.0, -4.0, 3.0, 0.0]
    assert merged(method, [FIRST + 1, SECOND + 1], ZERO + 1).tolist() == [5.0, -3.0, 4.0, 1.0]


# all stay: the sums (2, −8, 4, −0.25) elect +, −, +, −, and 4, −8, 4, −0.5 are what agrees
def test_without_normalize_what_agrees_is_added() -> None:
    method = ties(weight=(1, 1), density=(1, 1), normalize=False)
    assert merged(method, [FIRST, SECOND], ZERO).tolist() == [4.0, -8.0, 4.0, -0.5]


# weights 1 and 3, k = 2: (4, −3, 0, 0) and (0, −15, 9, 0); divided by the weights that agree,
# 1, 1 + 3, 3: (4, −4.5, 3, 0); λ = 2 doubles it
def test_weights_count_in_the_vote_and_in_the_mean() -> None:
    method = ties(weight=(1, 3), density=(0.5, 0.5), **{"lambda": 2})
    assert merged(method, [FIRST, SECOND], ZERO).tolist() == [8.0, -9.0, 6.0, 0.0]


# weight −1 turns the second into (0, 5, −3, 0): the sums (4, 2, −3, 0) elect +, +, −, +; what
# agrees is 4, 5, −3, each divided by its own weight: 4/1, 5/−1, −3/−1
def test_a_negative_weight_votes_the_other_way() -> None:
    method = ties(weight=(1, -1), density=(0.5, 0.5))
    assert merged(method, [FIRST, SECOND], ZERO).tolist() == [4.0, -5.0, 3.0, 0.0]


# weights 1 and −1 agree on + for (2) and (−2); they sum to 0, and the sum 4 is not divided
def test_weights_that_cancel_where_they_agree_leave_the_sum() -> None:
    method = ties(weight=(1, -1), density=(1, 1))
    assert merged(method, [vector(2), vector(-2)], vector(0)).tolist() == [4.0]


# ‖δ‖₁ = 8.5, of which 4 + 3 stay; 8.5/7 brings the norm back
def test_rescale_gives_each_delta_its_norm_back() -> None:
    result = merged(ties(weight=(1,), density=(0.5,), rescale=True), [FIRST], ZERO)
    assert torch.allclose(result, vector(4, -3, 0, 0) * (8.5 / 7), rtol=1e-6)
    assert float(result.abs().sum()) == pytest.approx(8.5, rel=1e-6)


# four entries of size 1 share k = 2: the first two
def test_of_equal_sizes_the_first_stay() -> None:
    method = ties(weight=(1,), density=(0.5,))
    assert merged(method, [vector(1, -1, -1, 1)], ZERO).tolist() == [1.0, -1.0, 0.0, 0.0]


def test_the_smallest_density_keeps_one_entry_and_none_keeps_none() -> None:
    assert merged(ties(weight=(1,), density=(1e-9,)), [FIRST], ZERO).tolist() == [4, 0, 0, 0]
    assert merged(ties(weight=(1,), density=(0,)), [FIRST], ZERO).tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("density", [-0.1, 1.1, float("nan")])
def test_a_density_that_is_no_share_is_refused(density: float) -> None:
    with pytest.raises(ValueError, match="density"):
        ties(weight=(1,), density=(density,))


@settings(deadline=None, max_examples=30)
@given(dyadic(6), dyadic(6))
def test_ties_of_one_whole_delta_is_that_delta(base: Tensor, source: Tensor) -> None:
    assert torch.equal(merged(ties(weight=(1,), density=(1,)), [source], base), source)


@settings(deadline=None, max_examples=30)
@given(several(3, 9), st.permutations(range(3)))
def test_the_order_of_the_sources_does_not_matter(sources: list[Tensor], order: list[int]) -> None:
    weight, density = (0.5, 0.25, 2.0), (0.4, 1.0, 0.7)
    base = torch.zeros(9)
    first = merged(ties(weight=weight, density=density, normalize=False), sources, base)
    turned = ties(
        weight=[weight[i] for i in order], density=[density[i] for i in order], normalize=False
    )
    assert torch.equal(merged(turned, [sources[i] for i in order], base), first)


@settings(deadline=None, max_examples=30)
@given(dyadic(9), st.sampled_from([0.2, 0.5, 0.9]))
def test_a_delta_with_itself_is_that_delta_trimmed(delta: Tensor, density: float) -> None:
    base = torch.zeros(9)
    alone = merged(ties(weight=(1,), density=(density,)), [delta], base)
    twice = merged(ties(weight=(1, 1), density=(density, density)), [delta, delta], base)
    assert torch.equal(twice, alone)


@settings(deadline=None, max_examples=40)
@given(several(3, 12), st.sampled_from([0.1, 0.25, 0.5, 1.0]))
def test_it_is_the_plain_form(sources: list[Tensor], density: float) -> None:
    method = ties(weight=(1, 2, 0.5), density=(density, 0.5, 1.0))
    expected = plain_ties(sources, (1, 2, 0.5), (density, 0.5, 1.0))
    found = merged(method, sources, torch.zeros(12))
    assert np.allclose(found.numpy(), expected, rtol=1e-6, atol=1e-7)


def plain_ties(
    deltas: list[Tensor], weights: tuple[float, ...], densities: tuple[float, ...]
) -> np.ndarray:
    """The formulas, one entry at a time, in float64."""
    trimmed = []
    for delta, weight, density in zip(deltas, weights, densities, strict=True):
        kept = np.argsort(-delta.abs().numpy(), kind="stable")[: max(1, int(density * len(delta)))]
        wide = np.zeros(len(delta))
        wide[kept] = weight * delta.double().numpy()[kept]
        trimmed.append(wide)
    result = np.zeros(len(deltas[0]))
    for j in range(len(result)):
        votes = [a[j] for a in trimmed]
        sign = 1 if sum(votes) >= 0 else -1
        agree = [i for i, vote in enumerate(votes) if np.sign(vote) == sign]
        if agree:
            result[j] = sum(votes[i] for i in agree) / sum(weights[i] for i in agree)
    return result


def test_exactly_k_entries_stay_in_any_shape() -> None:
    of = family((4, 6, 5), 1)
    result = merged(ties(weight=(1,), density=(0.3,)), of.tuned, of.base)
    assert int((result != of.base).sum()) == 36
