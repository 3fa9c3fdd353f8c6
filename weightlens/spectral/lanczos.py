"""The leading eigenpairs of a symmetric positive matrix, approximately, by products with it.

Block Lanczos with full reorthogonalisation (Golub & Underwood 1977) and thick restarts (Wu & Simon
2000). What a pair lacks is read off the small projected matrix, so that looking whether to stop
touches nothing large.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from weightlens.spectral.orthonormal import orthonormal_outside

_BLOCK, _PAIRS_A_COLUMN = 8, 8
"""Columns of a block at least, and pairs wanted for each column: narrow blocks need fewer vectors
in all, wide ones less time for each."""

_FIRST_LOOK, _MOST, _APART = (2.5, 80), (6, 160), (0.25, 16)
"""Vectors at the first look, at a restart, and between looks: for each pair wanted, and besides."""

_RESTARTS, _PASSES = 8, 3

_ENOUGH = 2e-4
"""The residual that is small enough, as a share of the gap behind the pairs wanted."""

_ROUNDING = 0.5
"""The residual that rounding hides anyway, in units of eps σ₁²."""


@dataclass(frozen=True)
class Leading:
    """Ritz pairs. values: k + 1 or more, descending, float64; vectors: d x k, orthonormal."""

    values: Float[Tensor, "more"]
    vectors: Float[Tensor, "d k"]


def lanczos(gram: Float[Tensor, "d d"], k: int) -> Leading:
    """Pairs near the leading k eigenpairs of a symmetric positive matrix, k well below d.

    Stops when the residual is at rounding level or well below the gap, or after a few restarts: how
    near they are is for the caller to find out.
    """
    block = max(_BLOCK, k // _PAIRS_A_COLUMN)
    look, most, apart = (int(each * k) + more for each, more in (_FIRST_LOOK, _MOST, _APART))
    most = min(most, len(gram)) // block * block
    space, restarts = _Krylov(gram, block, most), 0
    while True:
        space.extend()
        full = space.used + block > most
        if space.used < look and not full:
            continue
        values, rotation, residuals = space.ritz(gram.dtype)  # in float64 it takes twice as long
        rounding = _ROUNDING * torch.finfo(gram.dtype).eps * float(values[0])
        enough = max(rounding, _ENOUGH * float(values[k - 1] - values[k]))
        found = float(residuals[:k].max()) <= enough
        look = space.used + apart
        if found or full:
            values, rotation, _ = space.ritz(torch.float64)
            if found or restarts == _RESTARTS:
                return Leading(values, space.vectors(rotation[:, :k]))
            space.restart(values, rotation, k + block)
            look, restarts = most, restarts + 1


class _Krylov:
    """An orthonormal basis, a block longer with each product, and the matrix seen in it.

    Vectors are rows here: thin products are faster so. The matrix seen in the basis is block
    tridiagonal; its first block after a restart sees all the vectors that were kept.
    """

    def __init__(self, gram: Float[Tensor, "d d"], block: int, most: int) -> None:
        generator = torch.Generator().manual_seed(0)
        start = torch.randn(len(gram), block, generator=generator, dtype=torch.float64)
        self._gram, self._block = gram, block
        self._basis = gram.new_empty(most, len(gram))
        self._projected = gram.new_zeros(most, most)  # on and below the diagonal
        self._following = torch.linalg.qr(start)[0].to(gram)
        self._coupling = gram.new_zeros(block, block)
        self.used = self._kept = 0

    def extend(self) -> None:
        """Takes the block that follows, and finds the one after it."""
        before, self.used = self.used, self.used + self._block
        self._basis[before : self.used] = self._following.T
        known = self._basis[: self.used]
        image = known[before:] @ self._gram.T  # symmetric, and so MKL takes less time
        first = max(0, before - self._block) if before > self._kept else 0
        shares = image @ known[first:].T
        self._projected[before : self.used, first : self.used] = shares
        rest = image.addmm_(shares, known[first:], alpha=-1)
        self._following, self._coupling = orthonormal_outside(
            rest.T, lambda part: (part.T @ known.T @ known).T, passes=_PASSES
        )

    def ritz(
        self, dtype: torch.dtype
    ) -> tuple[Float[Tensor, "used"], Float[Tensor, "used used"], Float[Tensor, "used"]]:
        """(values, descending; vectors in terms of the basis; norms of the vectors' residuals)."""
        values, rotation = torch.linalg.eigh(self._projected[: self.used, : self.used].to(dtype))
        values, rotation = values.flip(0), rotation.flip(1)
        left = self._coupling.to(dtype) @ rotation[-self._block :]
        return values, rotation, torch.linalg.vector_norm(left, dim=0)

    def vectors(self, rotation: Float[Tensor, "used k"]) -> Float[Tensor, "d k"]:
        """Combinations of the basis."""
        return (rotation.T.to(self._basis) @ self._basis[: self.used]).T

    def restart(
        self, values: Float[Tensor, "used"], rotation: Float[Tensor, "used used"], kept: int
    ) -> None:
        """Goes on from the leading Ritz vectors and the block that follows."""
        self._basis[:kept] = self.vectors(rotation[:, :kept]).T
        self._projected.zero_().diagonal()[:kept] = values[:kept]
        self.used = self._kept = kept
