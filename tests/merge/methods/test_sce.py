import pytest
import torch
from fine_tunes import dyadic, family, several, vector
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from weightlens.merge.method import merged
from weightlens.merge.methods.sce import Sce

FIRST, SECOND, ZERO = vector(2, 1), vector(4, -3), vector(0, 0)


# energies (4 + 1)/2 and (16 + 9)/2: weights 1/6 and 5/6. The first entries agree:
# 2/6 + 4 · 5/6 = 11/3; the sum of the second is negative: −3 alone is left.
def test_deltas_are_weighed_by_their_energy_and_the_minority_sign_goes() -> None:
    result = merged(Sce(), [FIRST, SECOND], ZERO)
    assert torch.allclose(result, vector(11 / 3, -3))
    assert torch.allclose(merged(Sce(), [FIRST + 1, SECOND + 1], ZERO + 1), vector(14 / 3, -2))


# variances ((1)², (2)²) of (2, 4) and (1, −3): half of two is one entry, the second; the energies
# of what stays are 1 and 9, and −3 is alone again
def test_only_the_entries_of_largest_variance_stay() -> None:
    result = merged(Sce(select_topk=0.5), [FIRST, SECOND], ZERO)
    assert torch.allclose(result, vector(0, -3))


# the second and the third entry have no variance; of the other two, half is one: (4, −2) has the
# variance 9, (1, 3) has 1; 4 − 2 is positive
def test_the_share_is_of_the_entries_that_differ_at_all() -> None:
    deltas = [vector(1, 5, 7, 4), vector(3, 5, 7, -2)]
    result = merged(Sce(select_topk=0.5), deltas, torch.zeros(4))
    assert result.tolist() == [0, 0, 0, 4]


# three equal numbers: their mean by adding and dividing need not be that number
def test_entries_on_which_all_agree_have_no_variance() -> None:
    delta = family((50, 60), 1).deltas[0]
    result = merged(Sce(select_topk=0.9), [delta] * 3, torch.zeros_like(delta))
    assert torch.equal(result, torch.zeros_like(delta))


@settings(deadline=None, max_examples=30)
@given(dyadic(8), st.integers(1, 4))
def test_a_model_with_itself_is_that_model(delta: Tensor, count: int) -> None:
    assert torch.allclose(merged(Sce(), [delta] * count, torch.zeros(8)), delta, rtol=1e-6)


@settings(deadline=None, max_examples=30)
@given(several(3, 8), st.permutations(range(3)), st.sampled_from([0.3, 1.0]))
def test_the_order_of_the_sources_does_not_matter(
    deltas: list[Tensor], order: list[int], share: float
) -> None:
    # sizes of their own, lest variances are tied and rounding decides
    deltas = [d * (1 + 0.01 * torch.arange(8) + 0.1 * i) for i, d in enumerate(deltas)]
    first = merged(Sce(select_topk=share), deltas, torch.zeros(8))
    result = merged(Sce(select_topk=share), [deltas[i] for i in order], torch.zeros(8))
    assert torch.allclose(result, first, rtol=1e-4, atol=1e-5)


def test_no_share_leaves_the_base() -> None:
    of = family((4, 5))
    assert torch.equal(merged(Sce(select_topk=0.0), of.tuned, of.base), of.base)


# mean squares that sum to less than 1e-6, as of most fine-tunes, count as none: equal weights;
# (0.0009 + 0.0002)/2
def test_small_deltas_have_equal_weights() -> None:
    result = merged(Sce(), [vector(9e-4), vector(2e-4)], vector(0))
    assert float(result) == pytest.approx(5.5e-4)


def test_a_negative_share_is_refused() -> None:
    with pytest.raises(ValueError, match="select_topk"):
        Sce(select_topk=-0.1)
