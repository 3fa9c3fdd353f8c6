"""Certified subspaces against NumPy's SVD, and their certificates."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import chi2

from weightlens.spectral import basis
from weightlens.spectral.basis import factorise, random_subspace, residual_bounds
from weightlens.spectral.gram import short_gram
from weightlens.spectral.rank import SubspaceSize

SHAPES = [(12, 12), (8, 30), (30, 8), (1, 9), (9, 1)]


def with_spectrum(m: int, n: int, sigma: list[float], generator: torch.Generator) -> torch.Tensor:
    u, _ = torch.linalg.qr(torch.randn(m, len(sigma), generator=generator, dtype=torch.float64))
    v, _ = torch.linalg.qr(torch.randn(n, len(sigma), generator=generator, dtype=torch.float64))
    return ((u * torch.tensor(sigma, dtype=torch.float64)) @ v.T).float()


@pytest.mark.parametrize(("m", "n"), SHAPES)
def test_projectors_are_those_of_numpy(m: int, n: int, generator: torch.Generator) -> None:
    matrix = torch.randn(m, n, generator=generator)
    k = max(1, min(m, n) // 2)
    subspace = factorise(matrix).subspace(SubspaceSize("rank", k))
    u, _, vt = np.linalg.svd(matrix.double().numpy(), full_matrices=False)
    for ours, theirs in ((subspace.u, u[:, :k]), (subspace.v, vt[:k].T)):
        projector = ours.double().numpy() @ ours.double().numpy().T
        assert np.abs(projector - theirs @ theirs.T).max() < 1e-5


@pytest.mark.parametrize(("m", "n"), SHAPES)
def test_singular_values_and_energy_are_those_of_numpy(
    m: int, n: int, generator: torch.Generator
) -> None:
    matrix = torch.randn(m, n, generator=generator)
    factorisation = factorise(matrix)
    sigma = np.linalg.svd(matrix.double().numpy(), compute_uv=False)
    assert np.allclose(factorisation.sigma.numpy(), sigma, rtol=1e-7)
    subspace = factorisation.subspace(SubspaceSize("energy", 0.5))
    share = np.cumsum(sigma**2) / np.sum(sigma**2)
    assert subspace.rank == np.argmax(share >= 0.5) + 1
    assert subspace.energy == pytest.approx(share[subspace.rank - 1])


def test_gap_is_the_difference_of_squares() -> None:
    # diag(3, 2, 1), k = 2: 2² − 1² = 3; the bound is rounding over the gap
    matrix = torch.diag(torch.tensor([3.0, 2.0, 1.0]))
    subspace = factorise(matrix).subspace(SubspaceSize("rank", 2))
    assert subspace.gap == pytest.approx(3.0)
    assert 0 < subspace.angle_bound < 1e-13


def test_equal_singular_values_leave_the_subspace_uncertified() -> None:
    subspace = factorise(torch.eye(6)).subspace(SubspaceSize("rank", 3))
    assert subspace.gap == pytest.approx(0, abs=1e-12)
    assert math.isinf(subspace.angle_bound)


def test_the_bound_holds_for_a_subspace_that_is_off(generator: torch.Generator) -> None:
    """Vectors turned by a known angle: the bound of Davis and Kahan is above its sine."""
    from dataclasses import replace

    matrix = with_spectrum(10, 14, [5, 4, 3, 2, 1, 0.5], generator)
    exact = factorise(matrix)
    sine = 1e-3
    turned = exact.vectors.clone()
    cosine = math.sqrt(1 - sine**2)
    turned[:, 2] = cosine * exact.vectors[:, 2] + sine * exact.vectors[:, 3]
    turned[:, 3] = cosine * exact.vectors[:, 3] - sine * exact.vectors[:, 2]
    residuals = residual_bounds(short_gram(matrix), exact.sigma_squared, turned)
    off = replace(exact, vectors=turned, residuals=residuals).subspace(SubspaceSize("rank", 3))
    assert sine <= off.angle_bound < 10 * sine


def test_a_rank_deficient_matrix_gets_orthonormal_vectors(generator: torch.Generator) -> None:
    """Beyond the rank Wᵀ U Σ⁻¹ would divide by zero: the direct SVD takes over."""
    matrix = with_spectrum(8, 20, [4, 2, 1], generator)
    subspace = factorise(matrix).subspace(SubspaceSize("rank", 6))
    for side in (subspace.u, subspace.v):
        assert torch.allclose(side.T @ side, torch.eye(6), atol=1e-5)


def test_a_zero_matrix_has_a_subspace_of_no_energy() -> None:
    subspace = factorise(torch.zeros(4, 5)).subspace(SubspaceSize())
    assert (subspace.rank, subspace.energy) == (1, 0.0)
    assert math.isinf(subspace.angle_bound)
    assert torch.isfinite(subspace.u).all()
    assert torch.isfinite(subspace.v).all()


def test_random_subspaces_are_orthonormal_and_average_to_a_multiple_of_the_identity(
    generator: torch.Generator,
) -> None:
    projector = torch.zeros(5, 5)
    draws = 2000
    for _ in range(draws):
        u = random_subspace(5, 7, 2, generator).u
        assert torch.allclose(u.T @ u, torch.eye(2), atol=1e-5)
        projector += u @ u.T / draws
    assert torch.allclose(projector, 2 / 5 * torch.eye(5), atol=0.03)


def test_a_probed_residual_is_above_the_true_one_and_not_far(generator: torch.Generator) -> None:
    """Vectors turned by known angles: many of them, or a single one, the worst case."""
    matrix = torch.randn(400, 500, generator=generator, dtype=torch.float64)
    gram, exact = short_gram(matrix), factorise(matrix)
    for turned in (exact.vectors + 1e-6 * torch.randn(400, 400, generator=generator).double(),
                   exact.vectors.clone().index_fill_(1, torch.tensor([7]), 0.05)):  # fmt: skip
        true = torch.linalg.matrix_norm(gram @ turned - turned * exact.sigma_squared)
        bounds = residual_bounds(gram, exact.sigma_squared, turned)
        assert bounds.shape == (400,)
        assert true <= bounds.min() <= bounds.max() < 5 * true


def test_the_share_that_a_probe_may_miss_is_chernoffs() -> None:
    share, probes = basis._LEAST_SHARE, basis._PROBES
    assert (share * math.exp(1 - share)) ** (probes / 2) < 1e-8
    assert chi2.cdf(share * probes, probes) < 1e-8
