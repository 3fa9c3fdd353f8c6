"""Certified column and row spaces of a base matrix.

One factorisation serves every k and every delta: `factorise` pays for the eigenvectors of the
short side's Gram matrix G, `Factorisation.subspace` cuts U_k and V_k from it. Where only a few
vectors are wanted, `spectral.partial` finds them for less.

Each subspace carries `gap` = σ_k² − σ_{k+1}² and `angle_bound`, an upper bound on the sine of the
largest angle between the computed and the true subspace (Davis & Kahan 1970): ‖R‖ over the gap,
with R = G Û − Û Σ̂², and what rounding can have put into G itself. The residual ‖Wᵀ Û − V̂ Σ̂‖ would
certify nothing: with V̂ made from Û it is zero for any Û.
"""

import math
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from weightlens.spectral.eigen import eigenpairs
from weightlens.spectral.gram import long_product, short_gram, wide
from weightlens.spectral.rank import SubspaceSize

FactorisationPath = Literal["exact", "partial", "fallback"]
"""exact: all eigenvectors. partial: the leading ones alone. fallback: exact, because the partial
ones could not be certified."""

FLOAT32_ROUNDING = 2.0**-24
"""How far rounding to float32 moves a unit vector at most."""

_FEW, _PROBES, _LEAST_SHARE = 256, 32, 0.13
"""Vectors whose residual is computed whole, and how that of more is probed."""

_ROWS = 256
"""Rows that are rounded at a time."""

SMALLEST_RATIO = 1e-4
"""σ_k / σ₁ from which the long side's vectors are made as Wᵀ U Σ⁻¹.

Of float64 vectors U they are orthonormal to eps * (σ₁ / σ_k)², 2e-8 there; of vectors rounded to
float32 (`Factorisation.rounded`) to 3e-5. Below it a direct SVD serves.
"""


@dataclass(frozen=True)
class Subspace:
    """The top-k singular vectors of a matrix, both sides, with a certificate.

    u: m x k and v: n x k, float32, orthonormal columns. energy: share of ‖W‖² within, 0 to 1.
    gap: σ_k² − σ_{k+1}². angle_bound: sine of the largest possible error angle before rounding to
    float32, which adds at most 6e-8 √k; inf where the gap vanishes, so that the subspace is not
    unique.
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
    """Leading eigenvectors of the short side's Gram matrix, and what they belong to.

    sigma_squared: h values, descending; h is d = min(m, n) unless the path is partial. vectors:
    d x h, float64, one a column. squared_norm: ‖W‖². residuals: entry k − 1 is an upper bound of
    ‖G Û − Û Σ̂²‖₂ for the leading k, rounding in G included. beyond: σ_{h+1}², and beyond_error how
    much larger it can be. vector_error: how far each vector is at most from the one that the
    residuals speak of. long: the other side's vectors (e x h), where they fell out on the way.
    """

    matrix: Float[Tensor, "m n"]
    sigma_squared: Float[Tensor, "h"]
    vectors: Float[Tensor, "d h"]
    squared_norm: float
    residuals: Float[Tensor, "h"]
    path: FactorisationPath = "exact"
    beyond: float = 0.0
    beyond_error: float = 0.0
    vector_error: float = 0.0
    long: Float[Tensor, "e h"] | None = None

    @property
    def sigma(self) -> Float[Tensor, "h"]:
        """Singular values, descending, float64."""
        return self.sigma_squared.sqrt()

    @property
    def complete(self) -> bool:
        """Whether all min(m, n) singular values and vectors are known."""
        return len(self.sigma_squared) == min(self.matrix.shape)

    def rank(self, size: SubspaceSize) -> int:
        """k for the size asked for.

        Raises ValueError for a rank above min(m, n), and for an energy that needs more vectors
        than are known.
        """
        fixed = size.fixed_rank(min(self.matrix.shape))
        if fixed is not None:
            return fixed
        if self.complete:
            return size.rank(self.sigma_squared)
        reached = self.sigma_squared.cumsum(0) >= size.value * self.squared_norm
        if not reached.any():
            raise ValueError(f"energy {size.value:g} is not within the vectors that are known")
        return int(reached.int().argmax()) + 1

    def subspace(self, size: SubspaceSize) -> Subspace:
        """U_k and V_k for the size asked for. Raises ValueError for a rank above h."""
        k = self.rank(size)
        gap, angle_bound = self.certificate(k)
        short, long = self.vectors[:, :k], self.long_side(k)
        u, v = (short, long) if self.matrix.shape[0] <= self.matrix.shape[1] else (long, short)
        return Subspace(u.float(), v.float(), self.energy(k), gap, angle_bound)

    def rounded(self) -> "Factorisation":
        """With vectors that float32 holds: the form in which factorisations are kept.

        Row by row in memory, as they come from a file: products round by how their operands lie.
        """
        vectors = torch.empty_like(self.vectors, memory_format=torch.contiguous_format)
        for rows, exact in zip(vectors.split(_ROWS), self.vectors.split(_ROWS), strict=True):
            rows.copy_(exact.float())
        return replace(self, vectors=vectors, vector_error=FLOAT32_ROUNDING, long=None)

    def energy(self, k: int) -> float:
        """Share of ‖W‖² that the leading k directions hold, 0 to 1."""
        return float(self.sigma_squared[:k].sum()) / self.squared_norm if self.squared_norm else 0.0

    def certificate(self, k: int) -> tuple[float, float]:
        """(gap, angle bound) of the leading k. Raises ValueError for k outside 1 … h."""
        if not 1 <= k <= len(self.sigma_squared):
            raise ValueError(f"rank {k} is asked for, {len(self.sigma_squared)} are known")
        if k < len(self.sigma_squared):
            after, doubt = float(self.sigma_squared[k]), float(self.residuals[-1])
        else:
            after, doubt = self.beyond, self.beyond_error
        gap = float(self.sigma_squared[k - 1]) - after
        if k == self.matrix.shape[0] == self.matrix.shape[1]:  # both subspaces are everything
            return gap, 0.0
        error = float(self.residuals[k - 1])
        certain = gap - max(error, doubt)
        bound = error / certain + math.sqrt(k) * self.vector_error if certain > 0 else math.inf
        return gap, min(bound, 1.0) if certain > 0 else math.inf

    def long_side(self, k: int) -> Float[Tensor, "e k"]:
        """The long side's leading k vectors, one a column, float64."""
        if self.long is not None:
            return self.long[:, :k]
        sigma, short = self.sigma[:k], wide(self.matrix)
        if sigma[-1] > SMALLEST_RATIO * sigma[0]:
            return long_product(short, self.vectors[:, :k]) / sigma
        return left_vectors(short.T.double())[:, :k]


def factorise(matrix: Float[Tensor, "m n"], *, path: FactorisationPath = "exact") -> Factorisation:
    """Gram matrix of the short side and its full eigendecomposition, in float64."""
    gram = short_gram(matrix)
    values, vectors = eigenpairs(gram)
    values = values.clamp(min=0)
    residuals = residual_bounds(gram, values, vectors)
    del gram
    # forming G in float64 moves it by at most about max(m, n) eps ‖W‖²
    rounding = torch.finfo(torch.float64).eps * max(matrix.shape) * float(values.sum())
    return Factorisation(
        matrix=matrix,
        sigma_squared=values,
        vectors=vectors,
        squared_norm=float(values.sum()),
        residuals=residuals + rounding,
        path=path,
    )


def left_vectors(matrix: Float[Tensor, "e d"]) -> Float[Tensor, "e d"]:
    """Left singular vectors by QR iteration; on CUDA the default would be Jacobi's, far slower."""
    driver = "gesvd" if matrix.is_cuda else None
    return torch.linalg.svd(matrix, full_matrices=False, driver=driver).U


def residual_bounds(
    gram: Float[Tensor, "d d"], values: Float[Tensor, "h"], vectors: Float[Tensor, "d h"]
) -> Float[Tensor, "h"]:
    """For each k an upper bound of the Frobenius norm of R = G Û − Û Σ̂² over the leading k vectors.

    Of few vectors the norm itself. Of many, whose product with G would take as long as a fifth of
    the eigenvectors, one bound for all k from R ω for 32 Gaussian ω: E ‖R ω‖² = ‖R‖², and

        P(mean ‖R ω‖² ≤ 0.13 ‖R‖²) ≤ (0.13 e^0.87)^16 < 1e-8,

    Chernoff's bound, which no R exceeds: ∏ (1 + 2 t s_i²) ≥ 1 + 2 t ‖R‖² for its singular values.
    """
    if len(values) <= _FEW:
        off = (gram @ vectors).addcmul_(vectors, values, value=-1)
        return torch.linalg.vector_norm(off, dim=0).square().cumsum(0).sqrt()
    generator = torch.Generator().manual_seed(0)
    probes = torch.randn(len(values), _PROBES, generator=generator, dtype=torch.float64).to(gram)
    off = (gram @ (vectors @ probes)).sub_(vectors @ (probes * values[:, None]))
    mean = torch.linalg.vector_norm(off).square() / _PROBES
    return (mean / _LEAST_SHARE).sqrt().expand(len(values))


def random_subspace(m: int, n: int, k: int, generator: torch.Generator) -> Subspace:
    """Haar-distributed k-dimensional subspaces of both sides: the control for every claim.

    QR of a Gaussian matrix with the sign of R's diagonal divided out (Mezzadri 2007, section 5).
    """
    u, v = (_haar(d, k, generator).float() for d in (m, n))
    return Subspace(u, v, energy=math.nan, gap=math.nan, angle_bound=0.0)


def _haar(d: int, k: int, generator: torch.Generator) -> Float[Tensor, "d k"]:
    q, r = torch.linalg.qr(torch.randn(d, k, generator=generator, dtype=torch.float64))
    return q * torch.sign(r.diagonal())
