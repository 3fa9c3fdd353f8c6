"""Subspace alignment ratio: hand-worked numbers, laws, and NumPy."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from weightlens.delta import Delta, Dense, Factored
from weightlens.overlap.alignment import (
    Alignment,
    alignment_with,
    subspace_alignment,
    tolerated,
)
from weightlens.overlap.interference import task_singular_vectors

shapes = st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**31))


def drawn(m: int, n: int, seed: int) -> tuple[Dense, Dense]:
    generator = torch.Generator().manual_seed(seed)
    first, second = torch.randn(2, m, n, generator=generator).double()
    return Dense(first), Dense(second)


def factored(m: int, n: int, rank: int, seed: int) -> Factored:
    generator = torch.Generator().manual_seed(seed)
    b, a = torch.randn(m, rank, generator=generator), torch.randn(rank, n, generator=generator)
    return Factored(b, a, 0.5)


def product(delta: Factored) -> Dense:
    return Dense(delta.b.double() @ delta.a.double() * delta.scale)


def measured(delta: Delta, reference: Delta, tolerance: float = 0.05) -> Alignment:
    found = subspace_alignment(delta, reference, tolerance=tolerance)
    assert found is not None
    return found


def test_ratio_of_a_hand_worked_pair() -> None:
    # B = diag(4, 3, 0.1): without its last direction it misses 0.1 of √25.01, 2 %, and without the
    # last two √9.01 of it, 60 %: k = 2, the plane of e1 and e2. A's only column is (3, 4, 12) of
    # norm 13, and 5 of it lie in that plane: 5/13
    reference = Dense(torch.diag(torch.tensor([4.0, 3.0, 0.1])))
    delta = torch.zeros(3, 3)
    delta[:, 1] = torch.tensor([3.0, 4.0, 12.0])
    found = measured(Dense(delta), reference)
    assert found.rank == 2
    assert found.ratio == pytest.approx(5 / 13)


def test_the_tolerance_bounds_a_norm_not_an_energy() -> None:
    # B = diag(1, 0.2): the first direction holds 1 / 1.04 = 96 % of the energy, but what is left
    # out is 0.2 / √1.04 = 19.6 % of the norm: two directions at 5 %, one at 20 %
    reference = Dense(torch.diag(torch.tensor([1.0, 0.2])))
    delta = Dense(torch.tensor([[3.0, 0.0], [4.0, 0.0]]))
    strict, loose = measured(delta, reference), measured(delta, reference, 0.2)
    assert (strict.rank, loose.rank) == (2, 1)
    assert (strict.ratio, loose.ratio) == pytest.approx((1.0, 0.6))


def test_the_ratio_is_not_symmetric() -> None:
    # A = e1 e1ᵀ lies in the plane that B = I uses; of B, 1 of √2 lies on A's line
    line, plane = Dense(torch.diag(torch.tensor([1.0, 0.0]))), Dense(torch.eye(2))
    assert measured(line, plane).ratio == pytest.approx(1)
    assert measured(plane, line).ratio == pytest.approx(1 / math.sqrt(2))


@settings(deadline=None, max_examples=40)
@given(shapes, st.floats(0.05, 0.9))
def test_agrees_with_numpy(shape: tuple[int, int, int], tolerance: float) -> None:
    delta, reference = drawn(*shape)
    a, b = (one.matrix.double().numpy() for one in (delta, reference))
    u, sigma, vt = np.linalg.svd(b, full_matrices=False)
    missing = [
        np.linalg.norm(b - (u[:, :k] * sigma[:k]) @ vt[:k]) for k in range(1, len(sigma) + 1)
    ]
    k = 1 + int(np.argmax(np.array(missing) <= tolerance * np.linalg.norm(b)))
    found = measured(delta, reference, tolerance)
    assert found.rank == k
    expected = np.linalg.norm(u[:, :k] @ u[:, :k].T @ a) / np.linalg.norm(a)
    assert found.ratio == pytest.approx(expected, abs=1e-5)


@settings(deadline=None, max_examples=30)
@given(shapes, st.integers(1, 3))
def test_factors_read_like_their_product(shape: tuple[int, int, int], rank: int) -> None:
    m, n, seed = shape
    delta, reference = factored(m, n, rank, seed), factored(m, n, 2, seed + 1)
    expected = measured(product(delta), product(reference))
    for one, other in (
        (delta, reference),
        (delta, product(reference)),
        (product(delta), reference),
    ):
        found = measured(one, other)
        assert found.rank == expected.rank
        assert found.ratio == pytest.approx(expected.ratio, abs=1e-4)


@settings(deadline=None, max_examples=30)
@given(shapes, st.floats(0.001, 1000))
def test_neither_size_nor_a_common_rotation_matters(
    shape: tuple[int, int, int], scale: float
) -> None:
    m, n, seed = shape
    delta, reference = drawn(m, n, seed)
    generator = torch.Generator().manual_seed(seed + 2)
    left, _ = torch.linalg.qr(torch.randn(m, m, generator=generator).double())
    right, _ = torch.linalg.qr(torch.randn(n, n, generator=generator).double())
    plain = measured(delta, reference, 0.3)
    scaled = measured(delta.scaled(-scale), reference.scaled(scale), 0.3)
    turned = measured(
        Dense(left @ delta.matrix @ right), Dense(left @ reference.matrix @ right), 0.3
    )
    for other in (scaled, turned):
        assert other.rank == plain.rank
        assert other.ratio == pytest.approx(plain.ratio, abs=1e-5)


@settings(deadline=None, max_examples=30)
@given(shapes, st.floats(0.0, 0.9))
def test_a_delta_lies_in_its_own_space_up_to_the_tolerance(
    shape: tuple[int, int, int], tolerance: float
) -> None:
    delta, _ = drawn(*shape)
    found = measured(delta, delta, tolerance)
    assert math.sqrt(1 - tolerance**2) - 1e-6 <= found.ratio <= 1


def test_one_reference_serves_many_deltas() -> None:
    delta, reference = drawn(6, 8, 1)
    prepared = task_singular_vectors(reference, tolerated(0.3))
    assert alignment_with(delta, prepared) == measured(delta, reference, 0.3)


def test_a_zero_delta_has_no_alignment() -> None:
    zero, other = Dense(torch.zeros(3, 4)), drawn(3, 4, 0)[0]
    assert subspace_alignment(zero, other) is None
    assert subspace_alignment(other, zero) is None
    assert subspace_alignment(other, Factored(torch.zeros(3, 2), torch.ones(2, 4))) is None


def test_different_shapes_and_impossible_tolerances_are_refused() -> None:
    delta, reference = drawn(3, 4, 0)
    for other in (Dense(torch.ones(3, 5)), Dense(torch.ones(2, 4))):
        with pytest.raises(ValueError, match="one shape"):
            subspace_alignment(other, reference)
    for tolerance in (1.0, -0.1, math.nan):
        with pytest.raises(ValueError, match="tolerance"):
            subspace_alignment(delta, reference, tolerance=tolerance)
