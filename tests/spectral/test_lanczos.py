"""Block Lanczos against all eigenpairs, and the residual that it reads off the small matrix."""

import pytest
import torch
from torch import Tensor

from weightlens.spectral import lanczos
from weightlens.spectral.orthonormal import orthonormal_outside


def with_eigenvalues(values: Tensor, generator: torch.Generator) -> Tensor:
    d = len(values)
    vectors = torch.linalg.qr(torch.randn(d, d, generator=generator, dtype=torch.float64))[0]
    return (vectors * values) @ vectors.T


def falling(d: int, power: float) -> Tensor:
    return torch.arange(1, d + 1, dtype=torch.float64) ** -power


@pytest.mark.parametrize("k", [1, 7, 40])
@pytest.mark.parametrize("most", [(6, 160), (2, 24)])
def test_pairs_are_found_with_and_without_restarts(
    k: int, most: tuple[int, int], generator: torch.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second basis is full long before λ_i = i^-0.3 has converged. In float64 what is left is
    the residual asked for, 2e-4 of the gap, and Davis-Kahan's angle with it."""
    monkeypatch.setattr(lanczos, "_MOST", most)
    restarts = []
    restart = lanczos._Krylov.restart
    monkeypatch.setattr(
        lanczos._Krylov, "restart", lambda self, *a: (restarts.append(1), restart(self, *a))
    )
    gram = with_eigenvalues(falling(600, 0.3), generator)
    values, vectors = torch.linalg.eigh(gram)
    true = vectors.flip(1)[:, :k]
    found = lanczos.lanczos(gram, k)
    assert bool(restarts) == (most == (2, 24))
    assert torch.allclose(found.values[:k], values.flip(0)[:k], rtol=1e-7)
    outside = found.vectors - true @ (true.T @ found.vectors)
    assert torch.linalg.matrix_norm(outside, 2) < 1e-3
    assert torch.allclose(found.vectors.T @ found.vectors, torch.eye(k, dtype=torch.float64))


def test_a_residual_is_read_off_without_a_product(generator: torch.Generator) -> None:
    """G Y − Y Θ lies in the block that follows alone: its norm is that of the coupling times the
    last rows of Y's coordinates, at any stage and after a restart."""
    gram = with_eigenvalues(falling(300, 0.5), generator)
    space = lanczos._Krylov(gram, block=8, most=96)
    for stage in (3, 9, 12, 5, 9):
        while space.used + 8 <= min(8 * stage, 96):
            space.extend()
        values, rotation, residuals = space.ritz(torch.float64)
        vectors = space.vectors(rotation)
        true = torch.linalg.vector_norm(gram @ vectors - vectors * values, dim=0)
        assert torch.allclose(residuals, true, rtol=1e-6, atol=1e-12)
        if stage == 12:
            space.restart(values, rotation, 24)


def test_nearly_dependent_columns_end_up_outside(generator: torch.Generator) -> None:
    """Columns within the space to 1e-13: what is left is rounding, blown up, and still outside."""
    space = torch.linalg.qr(torch.randn(200, 50, generator=generator, dtype=torch.float64))[0]
    columns = space @ torch.randn(50, 8, generator=generator, dtype=torch.float64)
    noise = torch.randn(columns.shape, generator=generator, dtype=torch.float64)
    found, mixed = orthonormal_outside(
        columns + 1e-13 * noise, lambda part: space @ (space.T @ part), passes=4
    )
    assert torch.linalg.matrix_norm(space.T @ found, 2) < 1e-14
    assert torch.allclose(found.T @ found, torch.eye(8, dtype=torch.float64))
    assert torch.linalg.matrix_norm(found @ mixed, 2) < 1e-11


def test_what_is_outside_already_is_kept_as_a_product(generator: torch.Generator) -> None:
    """Q R is the columns less their part within."""
    space = torch.linalg.qr(torch.randn(200, 50, generator=generator, dtype=torch.float64))[0]
    columns = torch.randn(200, 8, generator=generator, dtype=torch.float64)
    found, mixed = orthonormal_outside(columns, lambda part: space @ (space.T @ part), passes=4)
    assert torch.allclose(found @ mixed, columns - space @ (space.T @ columns), atol=1e-12)
