"""Column, row and both overlap for every rank k at once.

    column(k)   Σ_{i≤k} ‖u_iᵀ Δ‖² / ‖Δ‖²
    row(k)      Σ_{j≤k} ‖Δ v_j‖² / ‖Δ‖²
    both(k)     Σ_{i,j≤k} (u_iᵀ Δ v_j)² / ‖Δ‖²

with W = U Σ Vᵀ the base (m x n, d = min(m, n)), Δ the delta, k = 1 … d, in Frobenius norm: the
overlaps of `overlap.subspace`, as cumulated sums. For m ≤ n the vectors U come from the short
side's Gram matrix and V is never formed: Δ V = (Δ Wᵀ) U Σ⁻¹, so nothing is larger than the base.
For m > n the same holds for Wᵀ and Δᵀ.

Σ⁻¹ would blow up for directions whose σ is nothing beside σ₁. Those (mostly none, or few) form the
`tail`: their long side is the orthonormal completion of the others' by a Householder QR, and the
SVD of the small core U_tailᵀ W Q turns both sides into singular vectors.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from weightlens.delta import Compact, Measurable
from weightlens.overlap.subspace import SubspaceOverlap, squared_norm
from weightlens.overlap.weighted import WeightedOverlap
from weightlens.spectral.basis import Factorisation
from weightlens.spectral.directions import Directions, directions
from weightlens.spectral.gram import cross_product, float32_holds_products, short_gram, wide


@dataclass(frozen=True)
class OverlapCurve:
    """The overlaps at k = 1 … d (entry k − 1), each between 0 and 1 and never falling; float64.

    The short side's curve (column for m ≤ n, row for m ≥ n) ends at 1.
    """

    column: Float[Tensor, "d"]
    row: Float[Tensor, "d"]
    both: Float[Tensor, "d"]

    @property
    def either(self) -> Float[Tensor, "d"]:
        """Share of the delta in the column space or in the row space."""
        return self.column + self.row - self.both

    def weighted(self, base: Factorisation) -> WeightedOverlap:
        """The overlaps of `overlap.weighted`, from the same projections: Σ σ_i² ‖u_iᵀ Δ‖².

        Raises ZeroDivisionError where the base is all zeros.
        """
        column, row = (
            float((curve.diff(prepend=curve.new_zeros(1)) * base.sigma_squared).sum())
            for curve in (self.column, self.row)
        )
        return WeightedOverlap(column / base.squared_norm, row / base.squared_norm)

    def at(self, k: int) -> SubspaceOverlap:
        """The overlaps of one rank. Raises ValueError for k outside 1 … d."""
        if not 1 <= k <= len(self.column):
            raise ValueError(f"rank {k} is not between 1 and min(m, n) = {len(self.column)}")
        column, row, both = (float(c[k - 1]) for c in (self.column, self.row, self.both))
        return SubspaceOverlap(column, row, both)


def overlap_curve(
    base: Factorisation, delta: Measurable, *, delta_gram: Float[Tensor, "d d"] | None = None
) -> OverlapCurve:
    """The overlaps of a delta with the base's top-k subspaces for every k.

    delta_gram: the short side's Gram matrix of a dense delta, where it is at hand. Where
    σ_k = σ_{k+1} the subspace of rank k is not unique, and the entry is that of one choice.
    Raises ZeroDivisionError for a delta of zeros, ValueError for a partial factorisation.
    """
    found = directions(base)
    tall = base.matrix.shape[0] > base.matrix.shape[1]
    if isinstance(delta, Compact):
        parts, total = _compact_parts(found, delta, tall), squared_norm(delta.sigma)
    else:
        stored = delta.matrix.dtype
        holds = stored == torch.float32 and float32_holds_products(delta.matrix)
        precision = found.precision if holds else torch.float64
        if delta_gram is None:
            delta_gram = short_gram(delta.matrix, dtype=precision)
        parts = _dense_parts(found, wide(delta.matrix), delta_gram.to(precision))
        total = float(delta_gram.diagonal().double().sum())
    if total == 0:
        raise ZeroDivisionError("a delta of zeros has no overlap")
    short, long, both = (_shares(part, total) for part in (parts.short, parts.long, parts.blocks))
    return OverlapCurve(long, short, both) if tall else OverlapCurve(short, long, both)


@dataclass(frozen=True)
class _Parts:
    """What each k adds of ‖Δ‖²: along the short side's vector, along the long side's, and to the
    leading block of Uᵀ Δ V."""

    short: Float[Tensor, "d"]
    long: Float[Tensor, "d"]
    blocks: Float[Tensor, "d"]


def _dense_parts(
    found: Directions, delta: Float[Tensor, "d e"], delta_gram: Float[Tensor, "d d"]
) -> _Parts:
    u = found.short.to(delta_gram.dtype)
    short = (delta_gram @ u).mul_(u).sum(0)
    along = _along_long(found, delta, u)
    squares = (u.T @ along).square_()
    long = along.square_().sum(0)
    # a block grows by a row up to the diagonal and a column above it
    above = squares.triu(1).sum(0)
    return _Parts(short, long, squares.tril_().sum(1) + above)


def _along_long(
    found: Directions, delta: Float[Tensor, "d e"], u: Float[Tensor, "d d"]
) -> Float[Tensor, "d d"]:
    """Δ V = (Δ Wᵀ) U Σ⁻¹, and the tail's columns by its vectors."""
    head = len(found.sigma)
    cross = cross_product(delta, found.wide, dtype=u.dtype)
    along = (cross @ u[:, :head]).div_(found.sigma.to(u.dtype))
    del cross
    if head == len(u):
        return along
    return torch.cat([along, delta.double() @ found.tail], dim=1)


def _compact_parts(found: Directions, delta: Compact, tall: bool) -> _Parts:
    """With Δ = Σ_t x_t y_tᵀ in the coordinates of both sides: the leading block of Uᵀ Δ V has the
    squared norm ⟨X_kᵀ X_k, Y_kᵀ Y_k⟩, where X_k and Y_k are the first k rows."""
    sides = (delta.right, delta.left) if tall else (delta.left, delta.right)
    x = found.along_short(sides[0].double()) * delta.sigma.double()
    y = found.along_long(sides[1].double())
    long = (y * delta.sigma.double()).square().sum(1)
    rank = x.shape[1]
    if rank * rank > len(x):
        squares = (x @ y.T).square_()
        blocks = squares.tril().sum(1) + squares.triu_(1).sum(0)
    else:
        grams = [torch.einsum("ks,kt->kst", side, side).cumsum_(0) for side in (x, y)]
        within = (grams[0] * grams[1]).sum((1, 2))
        blocks = within.diff(prepend=within.new_zeros(1))
    return _Parts(x.square().sum(1), long, blocks)


def _shares(parts: Float[Tensor, "d"], total: float) -> Float[Tensor, "d"]:
    # rounding can carry a part below zero, or all of a delta that lies wholly inside past the whole
    return (parts.double().clamp(min=0).cumsum(0) / total).clamp(max=1.0)
