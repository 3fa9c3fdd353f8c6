"""Sign conflict: a hand-worked number, laws, and its tie to the cosine."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from weightlens.delta import Delta, Dense, Factored
from weightlens.overlap import cosine as cosine_module
from weightlens.overlap.cosine import inner
from weightlens.overlap.signs import SignConflict, sign_conflict

shapes = st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**31))


def sparse(m: int, n: int, seed: int) -> tuple[Dense, Dense]:
    """Two deltas with about a third of their entries zero."""
    generator = torch.Generator().manual_seed(seed)
    entries = torch.randn(2, m, n, generator=generator)
    entries *= torch.rand(2, m, n, generator=generator) > 1 / 3
    return Dense(entries[0]), Dense(entries[1])


def measured(first: Delta, second: Delta) -> SignConflict:
    found = sign_conflict(first, second)
    assert found is not None
    return found


def test_conflict_of_a_hand_worked_pair() -> None:
    # entry by entry: 1, -3 differ, |ab| = 3; -2, -1 agree, 2; 0, 5 not shared; 4, 2 agree, 8.
    # 1 of 3 entries; 3 of 3 + 2 + 8 = 13
    first = Dense(torch.tensor([[1.0, -2.0], [0.0, 4.0]]))
    second = Dense(torch.tensor([[-3.0, -1.0], [5.0, 2.0]]))
    found = measured(first, second)
    assert found.shared == 3
    assert found.share == pytest.approx(1 / 3)
    assert found.weighted == pytest.approx(3 / 13)


def test_conflict_of_hand_worked_factors() -> None:
    # (1, -1)ᵀ (1, 2) = [[1, 2], [-1, -2]] against [[1, -1], [1, 1]]: agree, differ, differ, differ;
    # |ab| = 1, 2, 1, 2: 3 of 4 entries, 5 of 6
    first = Factored(torch.tensor([[1.0], [-1.0]]), torch.tensor([[1.0, 2.0]]))
    found = measured(first, Dense(torch.tensor([[1.0, -1.0], [1.0, 1.0]])))
    assert (found.shared, found.share) == (4, 0.75)
    assert found.weighted == pytest.approx(5 / 6)


@settings(deadline=None, max_examples=40)
@given(shapes)
def test_agrees_with_numpy_and_is_symmetric(shape: tuple[int, int, int]) -> None:
    first, second = sparse(*shape)
    products = first.matrix.double().numpy() * second.matrix.double().numpy()
    found = sign_conflict(first, second)
    assert found == sign_conflict(second, first)
    if found is None:
        assert not products.any()
        return
    assert found.shared == np.count_nonzero(products)
    assert found.share == pytest.approx(np.mean(products[products != 0] < 0))
    expected = -products[products < 0].sum() / np.abs(products).sum()
    assert found.weighted == pytest.approx(expected, abs=1e-12)


@settings(deadline=None, max_examples=30)
@given(shapes)
def test_the_weighted_form_settles_the_inner_product(shape: tuple[int, int, int]) -> None:
    """⟨A, B⟩ = (1 − 2 weighted) Σ |ab|."""
    first, second = sparse(*shape)
    found = sign_conflict(first, second)
    weight = float((first.matrix.double() * second.matrix.double()).abs().sum())
    expected = (1 - 2 * found.weighted) * weight if found else 0.0
    assert inner(first, second) == pytest.approx(expected, abs=1e-9)


@settings(deadline=None, max_examples=30)
@given(shapes, st.floats(0.001, 1000))
def test_scaling_changes_nothing_and_negating_turns_agreement_into_conflict(
    shape: tuple[int, int, int], scale: float
) -> None:
    m, n, seed = shape
    first, second = sparse(m + 8, n + 8, seed)
    plain, scaled = measured(first, second), measured(first.scaled(scale), second)
    negated = measured(first, second.scaled(-1.0))
    assert (scaled.shared, scaled.share) == (plain.shared, plain.share)
    assert scaled.weighted == pytest.approx(plain.weighted, abs=1e-5)
    assert negated.share == pytest.approx(1 - plain.share)
    assert negated.weighted == pytest.approx(1 - plain.weighted)


@settings(deadline=None, max_examples=30)
@given(shapes, st.integers(1, 4))
def test_factors_read_like_their_product(shape: tuple[int, int, int], rank: int) -> None:
    m, n, seed = shape
    generator = torch.Generator().manual_seed(seed)
    b, a = torch.randn(m, rank, generator=generator), torch.randn(rank, n, generator=generator)
    other = Dense(torch.randn(m, n, generator=generator))
    found = measured(Factored(b, a, -0.5), other)
    expected = measured(Dense(b.double() @ a.double() * -0.5), other)
    assert (found.shared, found.share) == (expected.shared, expected.share)
    assert found.weighted == pytest.approx(expected.weighted)


def test_a_delta_is_in_no_conflict_with_itself_and_in_full_with_its_negative() -> None:
    first, _ = sparse(6, 8, 1)
    agreeing, opposed = measured(first, first), measured(first, first.scaled(-1.0))
    assert (agreeing.share, agreeing.weighted) == (0, 0)
    assert (opposed.share, opposed.weighted) == pytest.approx((1, 1))


def test_deltas_without_a_common_entry_have_no_conflict() -> None:
    first = Dense(torch.tensor([[1.0, 0.0], [0.0, 0.0]]))
    assert sign_conflict(first, Dense(torch.tensor([[0.0, 1.0], [1.0, 1.0]]))) is None
    assert sign_conflict(first, Dense(torch.zeros(2, 2))) is None


def test_entries_whose_float32_product_underflows_still_count() -> None:
    # 1e-30 * -1e-30 = -1e-60 is zero in float32
    tiny = Dense(torch.tensor([[1e-30, 1.0]]))
    found = measured(tiny, Dense(torch.tensor([[-1e-30, 1.0]])))
    assert (found.shared, found.share) == (2, 0.5)


def test_blocks_of_rows_add_up_to_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = sparse(9, 7, 5)
    whole = measured(first, second)
    monkeypatch.setattr(cosine_module, "BLOCK_ENTRIES", 20)
    blocked = measured(first, second)
    assert (blocked.shared, blocked.share) == (whole.shared, whole.share)
    assert blocked.weighted == pytest.approx(whole.weighted)


def test_different_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="got 3 x 4, 1 x 4"):
        sign_conflict(Dense(torch.ones(3, 4)), Dense(torch.ones(1, 4)))
