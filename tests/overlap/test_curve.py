"""Overlap for every rank at once: a hand-worked curve, laws, and NumPy's direct SVD."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from weightlens.delta import Dense, Factored
from weightlens.overlap.curve import OverlapCurve, overlap_curve
from weightlens.overlap.subspace import subspace_overlap
from weightlens.spectral.basis import factorise
from weightlens.spectral.directions import directions
from weightlens.spectral.rank import SubspaceSize

shapes = st.tuples(st.integers(1, 12), st.integers(1, 12), st.integers(0, 2**31))
SHAPES = [(9, 9), (6, 17), (17, 6)]


def drawn(m: int, n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(m, n, generator=generator), torch.randn(m, n, generator=generator)


def with_spectrum(m: int, n: int, sigma: list[float], generator: torch.Generator) -> torch.Tensor:
    u, _ = torch.linalg.qr(torch.randn(m, len(sigma), generator=generator, dtype=torch.float64))
    v, _ = torch.linalg.qr(torch.randn(n, len(sigma), generator=generator, dtype=torch.float64))
    return (u * torch.tensor(sigma, dtype=torch.float64)) @ v.T


def curve_by_svd(base: torch.Tensor, delta: torch.Tensor) -> list[np.ndarray]:
    u, _, vt = np.linalg.svd(base.double().numpy(), full_matrices=False)
    change = delta.double().numpy()
    parts = (lambda k: u[:, :k].T @ change, lambda k: change @ vt[:k].T,
             lambda k: u[:, :k].T @ change @ vt[:k].T)  # fmt: skip
    ranks = range(1, len(vt) + 1)
    return [np.array([np.sum(p(k) ** 2) / np.sum(change**2) for k in ranks]) for p in parts]


def curves(found: OverlapCurve) -> list[np.ndarray]:
    return [c.numpy() for c in (found.column, found.row, found.both)]


def test_curve_of_a_hand_worked_delta() -> None:
    # W = diag(3, 2, 1): u_i = v_i = e_i. Δ = [[1, 2, 0], [0, 2, 4], [0, 0, 0]], ‖Δ‖² = 25
    # column: rows hold 5, 20, 0          → 5/25, 25/25, 25/25
    # row: columns hold 1, 8, 16          → 1/25, 9/25, 25/25
    # both: blocks hold 1, 1+4+4 = 9, 25  → 1/25, 9/25, 25/25
    base = torch.diag(torch.tensor([3.0, 2.0, 1.0]))
    delta = Dense(torch.tensor([[1.0, 2.0, 0.0], [0.0, 2.0, 4.0], [0.0, 0.0, 0.0]]))
    found = overlap_curve(factorise(base), delta)
    assert found.column.tolist() == pytest.approx([0.2, 1.0, 1.0])
    assert found.row.tolist() == pytest.approx([0.04, 0.36, 1.0])
    assert found.both.tolist() == pytest.approx([0.04, 0.36, 1.0])
    assert found.either.tolist() == pytest.approx([0.2, 1.0, 1.0])
    assert found.at(2).either == pytest.approx(1.0)


@settings(deadline=None, max_examples=40)
@given(shapes)
def test_each_entry_is_the_overlap_of_its_rank(shape: tuple[int, int, int]) -> None:
    base, delta = drawn(*shape)
    factorisation = factorise(base)
    found = overlap_curve(factorisation, Dense(delta))
    for k in range(1, min(base.shape) + 1):
        subspace = factorisation.subspace(SubspaceSize("rank", k))
        if subspace.angle_bound > 1e-9:
            continue
        expected = subspace_overlap(Dense(delta), subspace)
        for side in ("column", "row", "both", "either"):
            assert found.at(k).side(side) == pytest.approx(expected.side(side), abs=1e-5)


@settings(deadline=None, max_examples=40)
@given(shapes, st.booleans())
def test_curves_never_fall_and_the_short_side_ends_at_one(
    shape: tuple[int, int, int], deficient: bool
) -> None:
    base, delta = drawn(*shape)
    if deficient:
        base = base[:, :1] @ base[:1]
    found = overlap_curve(factorise(base), Dense(delta))
    for curve in curves(found):
        assert (np.diff(curve) >= 0).all()
        assert 0 <= curve[0] and curve[-1] <= 1
    short = found.column if base.shape[0] <= base.shape[1] else found.row
    assert float(short[-1]) == pytest.approx(1.0, abs=1e-12)
    assert (found.both <= torch.minimum(found.column, found.row) + 1e-6).all()


@settings(deadline=None, max_examples=30)
@given(shapes, st.integers(1, 4), st.floats(0.01, 100))
def test_factors_read_like_their_product(
    shape: tuple[int, int, int], rank: int, scale: float
) -> None:
    m, n, seed = shape
    base, _ = drawn(m, n, seed)
    generator = torch.Generator().manual_seed(seed + 1)
    b, a = torch.randn(m, rank, generator=generator), torch.randn(rank, n, generator=generator)
    factorisation = factorise(base)
    ours = overlap_curve(factorisation, Factored(b, a, scale).compact())
    product = b.double() @ a.double() * scale
    for factored, dense in zip(
        curves(ours), curves(overlap_curve(factorisation, Dense(product))), strict=True
    ):
        assert factored == pytest.approx(dense, abs=1e-9)


@pytest.mark.parametrize(("m", "n"), SHAPES)
def test_agrees_with_a_direct_svd(m: int, n: int, generator: torch.Generator) -> None:
    base = torch.randn(m, n, generator=generator)
    delta = torch.randn(m, n, generator=generator)
    found = curves(overlap_curve(factorise(base), Dense(delta)))
    for ours, theirs in zip(found, curve_by_svd(base, delta), strict=True):
        assert ours == pytest.approx(theirs, abs=1e-9)


@pytest.mark.parametrize(("m", "n"), SHAPES)
def test_tiny_singular_values_are_read_as_exactly_as_large_ones(
    m: int, n: int, generator: torch.Generator
) -> None:
    """Σ⁻¹ is 1e6 for the last of them; the Gram matrix resolves σ² = 1e-12 beside 1 to 1e-4."""
    base = with_spectrum(m, n, [1.0, 0.1, 1e-3, 1e-5, 3e-6, 1e-6], generator)
    delta = torch.randn(m, n, generator=generator)
    found = curves(overlap_curve(factorise(base), Dense(delta)))
    for ours, theirs in zip(found, curve_by_svd(base, delta), strict=True):
        assert ours[:6] == pytest.approx(theirs[:6], abs=2e-4)
        assert ours[:3] == pytest.approx(theirs[:3], abs=1e-8)


@pytest.mark.parametrize(("m", "n"), SHAPES)
@pytest.mark.parametrize("sigma", [[1.0, 1e-3, 1e-9, 1e-12], [2.0, 1.0], [1.0, 1e-4, 1e-4, 0.9e-4]])
def test_both_sides_stay_orthonormal_whatever_the_spectrum(
    m: int, n: int, sigma: list[float], generator: torch.Generator
) -> None:
    found = directions(factorise(with_spectrum(m, n, sigma, generator)))
    d, e = found.wide.shape
    short = found.along_short(torch.eye(d, dtype=torch.float64))
    long = found.along_long(torch.eye(e, dtype=torch.float64))
    for vectors in (short, long):
        assert torch.allclose(vectors @ vectors.T, torch.eye(d, dtype=torch.float64), atol=1e-6)


@pytest.mark.parametrize("zeros", [[0, 1], [2, 3], [4, 5], [0, 1, 2, 3]])
def test_directions_along_the_axes_are_completed_where_the_base_has_none(zeros: list[int]) -> None:
    """Columns of zeros, of which QR makes unit vectors of an axis: those may be taken already."""
    base = torch.diag(torch.arange(6.0, 0.0, -1.0))
    base[zeros] = 0.0
    long = directions(factorise(base)).along_long(torch.eye(6, dtype=torch.float64))
    assert torch.allclose(long @ long.T, torch.eye(6, dtype=torch.float64), atol=1e-9)
    assert torch.allclose(long[-len(zeros) :, zeros].square().sum(1), torch.ones(1).double())


def test_a_base_of_zeros_has_a_curve_of_some_orthonormal_choice(generator: torch.Generator) -> None:
    found = overlap_curve(factorise(torch.zeros(3, 5)), Dense(torch.randn(3, 5)))
    assert float(found.column[-1]) == pytest.approx(1.0)
    assert all(np.isfinite(c).all() for c in curves(found))


@settings(deadline=None, max_examples=30)
@given(shapes, st.floats(0.001, 1000))
def test_turning_base_and_delta_together_and_scaling_changes_nothing(
    shape: tuple[int, int, int], scale: float
) -> None:
    m, n, seed = shape
    base, delta = (drawn(m, n, seed)[i].double() for i in (0, 1))
    generator = torch.Generator().manual_seed(seed + 2)
    left, _ = torch.linalg.qr(torch.randn(m, m, generator=generator, dtype=torch.float64))
    right, _ = torch.linalg.qr(torch.randn(n, n, generator=generator, dtype=torch.float64))
    factorisation = factorise(base)
    plain = overlap_curve(factorisation, Dense(delta))
    turned = overlap_curve(factorise(left @ base @ right), Dense(scale * left @ delta @ right))
    for k in range(1, min(m, n) + 1):
        if factorisation.subspace(SubspaceSize("rank", k)).angle_bound < 1e-9:
            for side in ("column", "row", "both"):
                assert plain.at(k).side(side) == pytest.approx(turned.at(k).side(side), abs=1e-5)


def test_a_very_wide_base_needs_no_square_of_its_long_side(generator: torch.Generator) -> None:
    # 40000 x 40000 in float64 would be 12.8 GB
    base = torch.randn(3, 40_000, generator=generator)
    found = overlap_curve(factorise(base), Dense(base))
    assert found.column[-1].item() == pytest.approx(1.0)
    assert found.row[-1].item() == pytest.approx(1.0)


def test_a_rank_beyond_the_curve_and_a_delta_of_zeros_are_refused() -> None:
    factorisation = factorise(torch.eye(2, 3))
    with pytest.raises(ValueError, match="between 1 and"):
        overlap_curve(factorisation, Dense(torch.ones(2, 3))).at(3)
    with pytest.raises(ZeroDivisionError):
        overlap_curve(factorisation, Dense(torch.zeros(2, 3)))
