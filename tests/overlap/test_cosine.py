"""The cosine of two deltas: a hand-worked number, laws, and factored against dense."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from weightlens.delta import Delta, Dense, Factored
from weightlens.overlap import cosine as module
from weightlens.overlap.cosine import cosine, inner, norm

shapes = st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**31))


def drawn(m: int, n: int, seed: int) -> tuple[Dense, Dense]:
    generator = torch.Generator().manual_seed(seed)
    first, second = torch.randn(2, m, n, generator=generator)
    return Dense(first), Dense(second)


def factored(m: int, n: int, rank: int, seed: int, scale: float = 1.0) -> Factored:
    generator = torch.Generator().manual_seed(seed)
    b, a = torch.randn(m, rank, generator=generator), torch.randn(rank, n, generator=generator)
    return Factored(b, a, scale)


def product(delta: Factored) -> Dense:
    return Dense(delta.b.double() @ delta.a.double() * delta.scale)


def test_cosine_of_a_hand_worked_pair() -> None:
    # ⟨A, B⟩ = 1*2 + 2*1 + 2*0 + 0*2 = 4; ‖A‖² = 1 + 4 + 4 = 9, ‖B‖² = 4 + 1 + 4 = 9: 4/9
    first = Dense(torch.tensor([[1.0, 2.0], [2.0, 0.0]]))
    second = Dense(torch.tensor([[2.0, 1.0], [0.0, 2.0]]))
    assert inner(first, second) == 4
    assert cosine(first, second) == pytest.approx(4 / 9)


def test_cosine_of_hand_worked_factors() -> None:
    # A = (1, 2)ᵀ (3, 4), B = 2 (2, 0)ᵀ (0, 1): ⟨A, B⟩ = 2 (1*2 + 2*0) (3*0 + 4*1) = 16;
    # ‖A‖ = √5 * 5, ‖B‖ = 2 * 2 * 1 = 4: 16 / (20 √5) = 4 / (5 √5)
    first = Factored(torch.tensor([[1.0], [2.0]]), torch.tensor([[3.0, 4.0]]))
    second = Factored(torch.tensor([[2.0], [0.0]]), torch.tensor([[0.0, 1.0]]), 2.0)
    assert inner(first, second) == 16
    assert cosine(first, second) == pytest.approx(4 / (5 * math.sqrt(5)))


@settings(deadline=None, max_examples=40)
@given(shapes)
def test_agrees_with_numpy_and_is_symmetric(shape: tuple[int, int, int]) -> None:
    first, second = drawn(*shape)
    a, b = (delta.matrix.double().numpy().ravel() for delta in (first, second))
    expected = np.dot(a, b) / (np.linalg.norm(a) * np.linalg.norm(b))
    assert cosine(first, second) == pytest.approx(expected, abs=1e-12)
    assert cosine(first, second) == cosine(second, first)


@settings(deadline=None, max_examples=40)
@given(shapes, st.integers(1, 4), st.floats(0.01, 100))
def test_factors_read_like_their_product(
    shape: tuple[int, int, int], rank: int, scale: float
) -> None:
    m, n, seed = shape
    first, second = factored(m, n, rank, seed, scale), factored(m, n, 2, seed + 1)
    expected = cosine(product(first), product(second))
    assert norm(first) == pytest.approx(norm(product(first)), rel=1e-9)
    mixed: list[tuple[Delta, Delta]] = [
        (first, second), (first, product(second)), (product(first), second)
    ]  # fmt: skip
    for one, other in mixed:
        assert cosine(one, other) == pytest.approx(expected, abs=1e-9)


@settings(deadline=None, max_examples=30)
@given(shapes, st.floats(0.001, 1000))
def test_scaling_changes_only_the_sign(shape: tuple[int, int, int], scale: float) -> None:
    first, second = drawn(*shape)
    plain = cosine(first, second)
    assert plain is not None
    assert cosine(first.scaled(scale), second) == pytest.approx(plain, abs=1e-6)
    assert cosine(first, second.scaled(-scale)) == pytest.approx(-plain, abs=1e-6)


@settings(deadline=None, max_examples=30)
@given(shapes)
def test_turning_both_deltas_together_changes_nothing(shape: tuple[int, int, int]) -> None:
    m, n, seed = shape
    first, second = drawn(m, n, seed)
    generator = torch.Generator().manual_seed(seed + 2)
    left, _ = torch.linalg.qr(torch.randn(m, m, generator=generator).double())
    right, _ = torch.linalg.qr(torch.randn(n, n, generator=generator).double())
    turned = (Dense(left @ delta.matrix.double() @ right) for delta in (first, second))
    assert cosine(*turned) == pytest.approx(cosine(first, second), abs=1e-9)


@settings(deadline=None, max_examples=30)
@given(shapes)
def test_a_delta_is_parallel_to_itself_and_never_beyond(shape: tuple[int, int, int]) -> None:
    first, _ = drawn(*shape)
    for sign in (1.0, -1.0):
        found = cosine(first, first.scaled(sign))
        assert found == pytest.approx(sign)
        assert found is not None and abs(found) <= 1


def test_a_zero_delta_has_no_cosine() -> None:
    zero, other = Dense(torch.zeros(3, 4)), drawn(3, 4, 0)[0]
    untrained = Factored(torch.zeros(3, 2), torch.ones(2, 4))
    assert cosine(zero, other) is None
    assert cosine(other, untrained) is None
    assert cosine(zero, zero) is None


def test_factors_that_cancel_are_a_zero_delta() -> None:
    # B A = b a − b a = 0 though neither factor is zero
    half = factored(6, 5, 2, 3)
    cancelled = Factored(torch.cat([half.b, half.b], 1), torch.cat([half.a, -half.a], 0))
    assert not cancelled.is_zero()
    assert norm(cancelled) == 0
    assert cosine(cancelled, half) is None


def test_blocks_of_rows_add_up_to_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = drawn(9, 7, 5)
    whole = inner(first, second)
    monkeypatch.setattr(module, "BLOCK_ENTRIES", 20)  # 2 rows of 7, and one row at the end
    assert [len(a) for a, _ in module.paired_rows(first, second)] == [2, 2, 2, 2, 1]
    assert inner(first, second) == pytest.approx(whole, rel=1e-12)


def test_different_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="got 3 x 4, 1 x 4"):
        cosine(Dense(torch.ones(3, 4)), Dense(torch.ones(1, 4)))
