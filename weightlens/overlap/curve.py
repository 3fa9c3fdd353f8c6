"""Column, row and both overlap for every rank k at once.

    column(k)   Σ_{i≤k} ‖u_iᵀ Δ‖² / ‖Δ‖²
    row(k)      Σ_{j≤k} ‖Δ v_j‖² / ‖Δ‖²
    both(k)     Σ_{i,j≤k} (u_iᵀ Δ v_j)² / ‖Δ‖²

with W = U Σ Vᵀ the base (m x n, d = min(m, n)), Δ the delta, k = 1 … d, in Frobenius norm: the
overlaps of `overlap.subspace`, as cumulated sums. For m ≤ n the vectors U come from the short
side's Gram matrix and V is never formed: Δ V = (Δ Wᵀ) U Σ⁻¹, so nothing is larger than the base.
For m > n the same holds for Wᵀ and Δᵀ.

Σ⁻¹ would blow up for directions whose σ is nothing beside σ₁. Those (mostly none, or few) form the
`tail`, whose vectors `spectral.directions` makes.

Products of d x d matrices are made some columns at a time: two such matrices are in memory beside
the vectors at most.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from weightlens.delta import Compact, Measurable
from weightlens.overlap.subspace import SubspaceOverlap, squared_norm
from weightlens.overlap.weighted import WeightedOverlap
from weightlens.spectral.basis import Factorisation
from weightlens.spectral.directions import Directions, directions
from weightlens.spectral.gram import (
    cross_product,
    float32_holds_products,
    gram_singular_values,
    short_gram,
    wide,
)

_COLUMNS = 512
"""Columns of a d x d product that are in memory at a time."""


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


def overlap_curve(base: Factorisation, delta: Measurable) -> OverlapCurve:
    """The overlaps of a delta with the base's top-k subspaces for every k.

    Where σ_k = σ_{k+1} the subspace of rank k is not unique, and the entry is that of one choice.
    Raises ZeroDivisionError for a delta of zeros, ValueError for a partial factorisation.
    """
    found = directions(base)
    if isinstance(delta, Compact):
        parts = _compact_parts(found, delta, base.matrix.shape[0] > base.matrix.shape[1])
        return _curve(base, parts, squared_norm(delta.sigma))
    gram = short_gram(delta.matrix, dtype=_precision(found, delta.matrix))
    short, total = _along_short(found, gram), _trace(gram)
    del gram
    return _curve(base, _dense_parts(found, delta.matrix, short), total)


def curve_and_spectrum(
    base: Factorisation, delta: Measurable
) -> tuple[OverlapCurve, Float[Tensor, "s"]]:
    """`overlap_curve` and the delta's singular values, which share a Gram matrix."""
    if isinstance(delta, Compact):
        return overlap_curve(base, delta), delta.sigma
    found = directions(base)
    gram = short_gram(delta.matrix)
    sigma, total = gram_singular_values(gram), _trace(gram)
    gram = gram.to(_precision(found, delta.matrix))
    short = _along_short(found, gram)
    del gram
    return _curve(base, _dense_parts(found, delta.matrix, short), total), sigma


@dataclass(frozen=True)
class _Parts:
    """What each k adds of ‖Δ‖²: along the short side's vector, along the long side's, and to the
    leading block of Uᵀ Δ V."""

    short: Float[Tensor, "d"]
    long: Float[Tensor, "d"]
    blocks: Float[Tensor, "d"]


def _curve(base: Factorisation, parts: _Parts, total: float) -> OverlapCurve:
    if total == 0:
        raise ZeroDivisionError("a delta of zeros has no overlap")
    short, long, both = (_shares(part, total) for part in (parts.short, parts.long, parts.blocks))
    if base.matrix.shape[0] > base.matrix.shape[1]:
        short, long = long, short
    return OverlapCurve(short, long, both)


def _shares(parts: Float[Tensor, "d"], total: float) -> Float[Tensor, "d"]:
    # rounding can carry a part below zero, or all of a delta that lies wholly inside past the whole
    return (parts.double().clamp(min=0).cumsum(0) / total).clamp(max=1.0)


def _trace(gram: Float[Tensor, "d d"]) -> float:
    return float(gram.diagonal().double().sum())


def _precision(found: Directions, delta: Float[Tensor, "m n"]) -> torch.dtype:
    holds = delta.dtype == torch.float32 and float32_holds_products(delta)
    return found.precision if holds else torch.float64


def _along_short(found: Directions, gram: Float[Tensor, "d d"]) -> Float[Tensor, "d"]:
    """‖u_iᵀ Δ‖² from Δ Δᵀ."""
    shares = [
        (gram @ some).mul_(some).sum(0)
        for part in (found.leading, found.rest)
        for some in (columns.to(gram.dtype) for columns in part.split(_COLUMNS, 1))
    ]
    return torch.cat(shares)


def _dense_parts(
    found: Directions, delta: Float[Tensor, "m n"], short: Float[Tensor, "d"]
) -> _Parts:
    long, blocks = torch.zeros_like(short), torch.zeros_like(short)
    start = 0
    for along in _along_long(found, wide(delta), short.dtype):
        stop = start + along.shape[1]
        squares = found.along_short(along).square_()
        long[start:stop] = along.square_().sum(0)
        # a block grows by a row up to the diagonal and a column above it
        corner = squares[start:stop]
        blocks[start:stop] += squares[:start].sum(0) + corner.triu(1).sum(0) + corner.tril().sum(1)
        blocks[stop:] += squares[stop:].sum(1)
        start = stop
    return _Parts(short, long, blocks)


def _along_long(
    found: Directions, delta: Float[Tensor, "d e"], dtype: torch.dtype
) -> Iterator[Float[Tensor, "d c"]]:
    """The columns of Δ V = (Δ Wᵀ) U Σ⁻¹, and those of the tail by its vectors."""
    cross = cross_product(delta, found.wide, dtype=dtype)
    sigma = found.sigma.to(dtype)
    for some, theirs in zip(found.leading.split(_COLUMNS, 1), sigma.split(_COLUMNS), strict=True):
        yield (cross @ some.to(dtype)).div_(theirs)
    del cross
    if found.tail.shape[1]:
        for some in found.tail.split(_COLUMNS, 1):
            yield cross_product(delta, some.T, dtype=dtype)


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
