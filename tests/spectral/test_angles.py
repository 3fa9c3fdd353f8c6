"""Principal angles: hand-worked numbers, tiny and nearly right angles, laws, and SciPy."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import subspace_angles

from weightlens.spectral.angles import (
    chordal_chance,
    chordal_distance,
    geodesic_distance,
    principal_angles,
)

sizes = st.tuples(st.integers(1, 10), st.integers(1, 10), st.integers(1, 10)).map(
    lambda drawn: (max(drawn), drawn[0], drawn[1])
)
seeds = st.integers(0, 2**31)


def haar(d: int, k: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(d, k, generator=generator, dtype=torch.float64)).Q


def inclined(*angles: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Bases of two k-dimensional subspaces of R^2k with exactly these angles between them."""
    k = len(angles)
    theta = torch.tensor(angles, dtype=torch.float64)
    flat = torch.eye(2 * k, k, dtype=torch.float64)
    return flat, torch.cat([theta.cos().diag(), theta.sin().diag()])


def test_angles_and_distances_of_two_hand_worked_planes() -> None:
    # {e1, e2} and {cos 30° e1 + sin 30° e3, cos 60° e2 + sin 60° e4}: 30° and 60°.
    # geodesic: π √(1/36 + 1/9) = π √5 / 6; chordal: √(1/4 + 3/4) = 1
    angles = principal_angles(*inclined(math.pi / 6, math.pi / 3))
    assert angles.tolist() == pytest.approx([math.pi / 6, math.pi / 3])
    assert geodesic_distance(angles) == pytest.approx(math.pi * math.sqrt(5) / 6)
    assert chordal_distance(angles) == pytest.approx(1)


def test_a_line_in_a_plane_and_one_that_stands_on_it() -> None:
    # {e1, e2} holds e1: angle 0; e3 is orthogonal to both: π/2
    plane = torch.eye(3, 2)
    assert principal_angles(plane, torch.eye(3)[:, :1]).tolist() == [0]
    assert principal_angles(torch.eye(3)[:, 2:], plane).tolist() == pytest.approx([math.pi / 2])


@pytest.mark.parametrize("angle", [1e-14, 1e-11, 1e-8, 1e-4, 1.0])
def test_angles_near_zero_and_near_a_right_angle_keep_their_digits(angle: float) -> None:
    """arccos of a cosine would read 0 or 1.5e-8 for every angle below 1e-8."""
    turn = haar(4, 4, 7)
    first, second = (turn @ basis for basis in inclined(angle, math.pi / 2 - angle))
    found = principal_angles(first, second)
    expected = sorted([angle, math.pi / 2 - angle])
    assert found[0].item() == pytest.approx(expected[0], abs=1e-15)
    assert found[1].item() == pytest.approx(expected[1], abs=1e-15)


@settings(deadline=None, max_examples=50)
@given(sizes, seeds)
def test_agrees_with_scipy(size: tuple[int, int, int], seed: int) -> None:
    d, p, q = size
    first, second = haar(d, p, seed), haar(d, q, seed + 1)
    found = principal_angles(first, second)
    expected = subspace_angles(first.numpy(), second.numpy())[::-1]
    # SciPy takes arccos of a small angle that comes with large ones: 1.5e-8 where it is 0
    assert found.tolist() == pytest.approx(expected.tolist(), abs=1e-7)


@settings(deadline=None, max_examples=30)
@given(sizes, seeds)
def test_angles_are_symmetric_and_belong_to_the_spans(
    size: tuple[int, int, int], seed: int
) -> None:
    """Neither the order, nor the basis of a span, nor a common rotation matters."""
    d, p, q = size
    first, second = haar(d, p, seed), haar(d, q, seed + 1)
    plain = principal_angles(first, second).tolist()
    turn = haar(d, d, seed + 2)
    assert principal_angles(second, first).tolist() == pytest.approx(plain, abs=1e-13)
    rebased = principal_angles(first @ haar(p, p, seed + 3), second)
    assert rebased.tolist() == pytest.approx(plain, abs=1e-13)
    assert principal_angles(turn @ first, turn @ second).tolist() == pytest.approx(plain, abs=1e-13)


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 10), st.integers(1, 10), seeds)
def test_chordal_distance_is_that_of_the_projectors(d: int, k: int, seed: int) -> None:
    """‖PPᵀ − QQᵀ‖_F / √2, for subspaces of one dimension."""
    first, second = haar(d, min(k, d), seed).numpy(), haar(d, min(k, d), seed + 1).numpy()
    expected = np.linalg.norm(first @ first.T - second @ second.T) / math.sqrt(2)
    angles = principal_angles(torch.from_numpy(first), torch.from_numpy(second))
    assert chordal_distance(angles) == pytest.approx(expected, abs=1e-12)
    assert chordal_distance(angles) <= geodesic_distance(angles) + 1e-15


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 8), st.integers(1, 8), seeds)
def test_both_distances_obey_the_triangle_inequality(d: int, k: int, seed: int) -> None:
    a, b, c = (haar(d, min(k, d), seed + i) for i in range(3))
    for distance in (geodesic_distance, chordal_distance):
        ab, bc, ac = (distance(principal_angles(*pair)) for pair in ((a, b), (b, c), (a, c)))
        assert ac <= ab + bc + 1e-12


def test_a_basis_rounded_to_float32_lies_at_no_angle_to_itself() -> None:
    basis = haar(40, 5, 3).float()
    turned = (basis.double() @ haar(5, 5, 4)).float()
    assert float(principal_angles(basis, basis).max()) < 1e-14
    assert float(principal_angles(basis, turned).max()) < 1e-6
    assert float(principal_angles(basis.double(), basis).max()) < 1e-14


def test_no_vectors_have_no_angles() -> None:
    angles = principal_angles(torch.zeros(4, 0), haar(4, 2, 0).float())
    assert (len(angles), geodesic_distance(angles), chordal_distance(angles)) == (0, 0, 0)


@pytest.mark.parametrize(
    "basis", [2 * torch.eye(3, 2), torch.ones(3, 2), torch.eye(2, 3), torch.full((3, 1), math.nan)]
)
def test_columns_that_are_not_orthonormal_are_refused(basis: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="not orthonormal"):
        principal_angles(basis, torch.eye(len(basis), 1))


def test_the_chordal_distance_of_random_subspaces_is_what_chance_says(
    generator: torch.Generator,
) -> None:
    """E Σ sin² θ = q (1 − p/d): here 3 (1 − 5/12) = 1.75; four standard errors of 400 draws."""
    squares = []
    for _ in range(400):
        first, second = (
            torch.linalg.qr(torch.randn(12, k, generator=generator, dtype=torch.float64))[0]
            for k in (5, 3)
        )
        squares.append(chordal_distance(principal_angles(first, second)) ** 2)
    drawn = torch.tensor(squares)
    assert chordal_chance(12, 5, 3) == chordal_chance(12, 3, 5) == pytest.approx(1.75**0.5)
    assert abs(float(drawn.mean()) - 1.75) < 4 * float(drawn.std()) / 20
