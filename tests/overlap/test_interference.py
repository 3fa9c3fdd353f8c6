"""Singular task interference: a hand-worked number, laws, and NumPy."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from weightlens.delta import Compact, Delta, Dense, Factored
from weightlens.overlap.interference import interference, task_singular_vectors
from weightlens.spectral.rank import SubspaceSize

shapes = st.tuples(st.integers(2, 9), st.integers(2, 9), st.integers(0, 2**31))


def drawn(m: int, n: int, seed: int, count: int = 3) -> list[Dense]:
    generator = torch.Generator().manual_seed(seed)
    return [Dense(torch.randn(m, n, generator=generator).double()) for _ in range(count)]


def parts(deltas: list[Dense], k: int) -> list[Compact]:
    return [task_singular_vectors(delta, SubspaceSize("rank", k)) for delta in deltas]


def by_numpy(matrices: list[NDArray[np.float64]], k: int) -> float:
    """Entry by entry: row (a, i) and column (c, j), by way of every vector l of every delta b."""
    cut = [np.linalg.svd(matrix, full_matrices=False) for matrix in matrices]
    total = 0.0
    for a, (u_a, _, _) in enumerate(cut):
        for c, (_, _, vt_c) in enumerate(cut):
            block = np.zeros((k, k))
            for b, (u_b, sigma_b, vt_b) in enumerate(cut):
                if b not in (a, c):  # a delta's own vectors are orthonormal
                    left = u_a[:, :k].T @ u_b[:, :k]
                    block += left @ np.diag(sigma_b[:k]) @ vt_b[:k] @ vt_c[:k].T
            total += np.abs(block).sum()
    return float(total)


def test_interference_of_a_hand_worked_pair() -> None:
    # Δ_1 = 2 e1 e1ᵀ, Δ_2 = 3 u vᵀ with u = (3, 4) / 5 and v = (5, 12, 0) / 13, k = 1:
    # UᵀU − I = 3/5 [[0, 1], [1, 0]], VᵀV − I = 5/13 [[0, 1], [1, 0]], Σ = diag(2, 3).
    # Their product is 3/5 * 5/13 diag(3, 2), its sum 15/65 * 5 = 15/13
    first = torch.zeros(2, 3)
    first[0, 0] = 2.0
    second = 3 * torch.outer(torch.tensor([0.6, 0.8]), torch.tensor([5.0, 12.0, 0.0]) / 13)
    found = parts([Dense(first), Dense(second)], 1)
    assert interference(found) == pytest.approx(15 / 13)


@settings(deadline=None, max_examples=30)
@given(shapes, st.integers(1, 4))
def test_agrees_with_numpy(shape: tuple[int, int, int], k: int) -> None:
    m, n, seed = shape
    k = min(k, m, n)
    deltas = drawn(m, n, seed)
    matrices = [delta.matrix.double().numpy() for delta in deltas]
    found = parts(deltas, k)
    assert interference(found) == pytest.approx(by_numpy(matrices, k), rel=1e-3)
    for i, j in ((0, 1), (0, 2), (1, 2)):
        expected = by_numpy([matrices[i], matrices[j]], k)
        assert interference([found[i], found[j]]) == pytest.approx(expected, rel=1e-3)


@settings(deadline=None, max_examples=30)
@given(shapes)
def test_a_pair_is_each_delta_seen_through_the_other(shape: tuple[int, int, int]) -> None:
    """‖U_1ᵀ Δ_2 V_1‖₁ + ‖U_2ᵀ Δ_1 V_2‖₁, with every singular vector kept."""
    m, n, seed = shape
    first, second = drawn(m, n, seed, 2)
    one, other = parts([first, second], min(m, n))
    seen = one.left.T @ second.matrix.double() @ one.right
    back = other.left.T @ first.matrix.double() @ other.right
    expected = float(seen.abs().sum() + back.abs().sum())
    assert interference([one, other]) == pytest.approx(expected, rel=1e-4)


@settings(deadline=None, max_examples=30)
@given(shapes, st.floats(0.001, 1000))
def test_order_and_rotation_change_nothing_and_scaling_scales(
    shape: tuple[int, int, int], scale: float
) -> None:
    """On exact triplets: rotating them leaves singular vectors of the rotated delta."""
    m, n, seed = shape
    found = parts(drawn(m, n, seed), 2)
    plain = interference(found)
    assert interference(found[::-1]) == pytest.approx(plain)
    generator = torch.Generator().manual_seed(seed + 1)
    left, _ = torch.linalg.qr(torch.randn(m, m, generator=generator).double())
    right, _ = torch.linalg.qr(torch.randn(n, n, generator=generator).double())
    turned = [Compact(left @ part.left, part.sigma, right @ part.right) for part in found]
    assert interference(turned) == pytest.approx(plain)
    scaled = [Compact(part.left, scale * part.sigma, part.right) for part in found]
    assert interference(scaled) == pytest.approx(scale * plain)
    flipped = [Compact(-part.left, part.sigma, -part.right) for part in found[:1]]
    assert interference(flipped + found[1:]) == pytest.approx(plain)


def test_mutually_orthogonal_deltas_do_not_interfere(generator: torch.Generator) -> None:
    """Three deltas, each with its own rows and its own columns."""
    deltas = []
    for i in range(3):
        matrix = torch.zeros(9, 12)
        matrix[3 * i : 3 * i + 3, 4 * i : 4 * i + 4] = torch.randn(3, 4, generator=generator)
        deltas.append(Dense(matrix))
    found = parts(deltas, 3)
    assert interference(found) == pytest.approx(0, abs=1e-5)


def test_one_delta_alone_does_not_interfere_and_with_its_copy_it_does() -> None:
    (delta,) = drawn(6, 8, 3, 1)
    (part,) = parts([delta], 4)
    assert interference([part]) == pytest.approx(0, abs=1e-5)
    assert interference([part, part]) == pytest.approx(2 * float(part.sigma.sum()), rel=1e-5)


def test_a_third_delta_couples_two_orthogonal_ones() -> None:
    # Δ_1 = e1 e1ᵀ, Δ_2 = e2 e2ᵀ, Δ_3 = x xᵀ with x = (e1 + e2) / √2: the pairs (1, 3) and (2, 3)
    # give 1/2 + 1/2 each, in all 2; the blocks (1, 2) and (2, 1), by way of x, 1/2 each; (1, 3) by
    # way of Δ_2 and the like 0: 3
    half = torch.full((2, 2), 0.5)
    one, two = torch.diag(torch.tensor([1.0, 0.0])), torch.diag(torch.tensor([0.0, 1.0]))
    found = parts([Dense(one), Dense(two), Dense(half)], 1)
    assert interference(found) == pytest.approx(3)
    pairs = [interference([found[i], found[j]]) for i, j in ((0, 1), (0, 2), (1, 2))]
    assert sum(pairs) == pytest.approx(2)


@settings(deadline=None, max_examples=30)
@given(shapes, st.integers(1, 3))
def test_factors_read_like_their_product(shape: tuple[int, int, int], rank: int) -> None:
    m, n, seed = shape
    generator = torch.Generator().manual_seed(seed)
    rank = min(rank, m, n)
    b, a = torch.randn(m, rank, generator=generator), torch.randn(rank, n, generator=generator)
    factored, other = Factored(b, a, 0.5), drawn(m, n, seed + 1, 1)[0]
    dense = Dense(b.double() @ a.double() * 0.5)
    size = SubspaceSize("rank", rank)
    both: list[Delta] = [factored, dense]
    found = [
        interference([task_singular_vectors(delta, size), task_singular_vectors(other, size)])
        for delta in both
    ]
    assert found[0] == pytest.approx(found[1], rel=1e-3)


def test_a_size_counts_all_directions_of_a_factored_delta_but_takes_no_empty_ones() -> None:
    # of 6 directions a half is 3, but the factors have rank 2; an energy of 1 needs both
    factored = Factored(torch.eye(6, 2), torch.eye(2, 9))
    for size in (
        SubspaceSize("fraction", 0.5),
        SubspaceSize("energy", 1.0),
        SubspaceSize("rank", 6),
    ):
        assert len(task_singular_vectors(factored, size).sigma) == 2
    with pytest.raises(ValueError, match="exceeds"):
        task_singular_vectors(factored, SubspaceSize("rank", 7))


def test_zero_deltas_do_not_interfere() -> None:
    (other,) = drawn(3, 4, 0, 1)
    found = parts([other, Dense(torch.zeros(3, 4))], 1)
    assert interference(found[1:]) == pytest.approx(0, abs=1e-12)
    assert interference([found[1], found[1]]) == 0


def test_no_deltas_and_different_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="got none"):
        interference([])
    with pytest.raises(ValueError, match="got 3 x 4, 3 x 5"):
        interference(parts([Dense(torch.ones(3, 4)), Dense(torch.ones(3, 5))], 1))
