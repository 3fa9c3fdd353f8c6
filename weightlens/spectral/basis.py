"""Certified column and row spaces of a base matrix.

One factorisation serves every k and every delta: `factorise` pays for the eigenvectors of the
short side's Gram matrix G, `Factorisation.subspace` cuts U_k and V_k from it.

Each subspace carries `gap` = σ_k² − σ_{k+1}² and `angle_bound`, an upper bound on the sine of the
largest angle between the computed and the true subspace (Davis & Kahan 1970): ‖R‖ / gap with
R = G Û − Û Σ̂² and ‖R‖ in Frobenius norm, plus what rounding can have put into G itself. The
residual ‖Wᵀ Û − V̂ Σ̂‖ would certify nothing: with V̂ made from Û it is zero for any Û.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from weightlens.spectral.gram import short_gram
from weightlens.spectral.rank import SubspaceSize

_SMALLEST_RATIO = 1e-4
"""σ_k / σ₁ from which the long side's vectors are made as Wᵀ U Σ⁻¹.

Their departure from orthonormality is eps * (σ₁ / σ_k)², 2e-8 there; below it a direct SVD serves.
"""


@dataclass(frozen=True)
class Subspace:
    """The top-k singular vectors of a matrix, both sides, with a certificate.

    u: m x k and v: n x k, float32, orthonormal columns. energy: share of ‖W‖² within, 0 to 1.
    gap: σ_k² − σ_{k+1}². angle_bound: sine of the largest possible error angle; inf where the gap
    vanishes, so that the subspace is not unique.
    """

    u: Float[Tensor, "m k"]
    v: Float[Tensor, "n k"]
    energy: float
    gap: float
    angle_bound: float

    @property
    def rank(self) -> int:
        """k."""
        return self.u.shape[1]


@dataclass(frozen=True)
class Factorisation:
    """Eigenvectors of the short side's Gram matrix, and what they belong to.

    sigma_squared: d = min(m, n) values, descending. vectors: d x d, float64, one a column.
    """

    matrix: Float[Tensor, "m n"]
    gram: Float[Tensor, "d d"]
    sigma_squared: Float[Tensor, "d"]
    vectors: Float[Tensor, "d d"]

    @property
    def sigma(self) -> Float[Tensor, "d"]:
        """Singular values, descending, float64."""
        return self.sigma_squared.sqrt()

    def subspace(self, size: SubspaceSize) -> Subspace:
        """U_k and V_k for the size asked for. Raises ValueError for a rank above min(m, n)."""
        k = size.rank(self.sigma_squared)
        short, gap, angle_bound = self._certified(k)
        long = self._long_side(short, k)
        u, v = (short, long) if self.matrix.shape[0] <= self.matrix.shape[1] else (long, short)
        total = float(self.sigma_squared.sum())
        energy = float(self.sigma_squared[:k].sum()) / total if total else 0.0
        return Subspace(u.float(), v.float(), energy, gap, angle_bound)

    def _certified(self, k: int) -> tuple[Float[Tensor, "d k"], float, float]:
        vectors, values = self.vectors[:, :k], self.sigma_squared
        after = float(values[k]) if k < len(values) else 0.0
        gap = float(values[k - 1]) - after
        residual = torch.linalg.matrix_norm(self.gram @ vectors - vectors * values[:k])
        # forming G in float64 moves it by at most about max(m, n) eps ‖W‖²
        rounding = torch.finfo(torch.float64).eps * max(self.matrix.shape) * float(values.sum())
        error = float(residual) + rounding
        return vectors, gap, error / gap if gap > error else math.inf

    def _long_side(self, short: Float[Tensor, "d k"], k: int) -> Float[Tensor, "e k"]:
        sigma = self.sigma[:k]
        wide = self.matrix.double()
        wide = wide.T if wide.shape[0] <= wide.shape[1] else wide
        if sigma[-1] > _SMALLEST_RATIO * sigma[0]:
            return (wide @ short) / sigma
        return torch.linalg.svd(wide, full_matrices=False).U[:, :k]


def factorise(matrix: Float[Tensor, "m n"]) -> Factorisation:
    """Gram matrix of the short side and its full eigendecomposition, in float64."""
    gram = short_gram(matrix)
    values, vectors = torch.linalg.eigh(gram)
    return Factorisation(matrix, gram, values.clamp(min=0).flip(0), vectors.flip(1))


def random_subspace(m: int, n: int, k: int, generator: torch.Generator) -> Subspace:
    """Haar-distributed k-dimensional subspaces of both sides: the control for every claim.

    QR of a Gaussian matrix with the sign of R's diagonal divided out (Mezzadri 2007, section 5).
    """
    u, v = (_haar(d, k, generator).float() for d in (m, n))
    return Subspace(u, v, energy=math.nan, gap=math.nan, angle_bound=0.0)


def _haar(d: int, k: int, generator: torch.Generator) -> Float[Tensor, "d k"]:
    q, r = torch.linalg.qr(torch.randn(d, k, generator=generator, dtype=torch.float64))
    return q * torch.sign(r.diagonal())
