"""Overlap of a delta with the top singular subspaces of its base.

    column   ‖U_kᵀ Δ‖² / ‖Δ‖²        how much the delta writes where the base writes most
    row      ‖Δ V_k‖² / ‖Δ‖²         how much it reads where the base reads most
    both     ‖U_kᵀ Δ V_k‖² / ‖Δ‖²
    either   1 − ‖(I−P) Δ (I−Q)‖² / ‖Δ‖² = column + row − both,   P = U_k U_kᵀ, Q = V_k V_kᵀ

all in Frobenius norm, between 0 and 1 (arXiv:2507.17075 reads its overlap from the same
projections). `either` is the sum because PΔ, ΔQ and PΔQ are orthogonal projections of Δ in one
commuting family. Factored deltas are measured in O((m + n) r (r + k)).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from weightlens.delta import Compact, Measurable
from weightlens.spectral.basis import Subspace


@dataclass(frozen=True)
class SubspaceOverlap:
    """The three overlaps, each between 0 and 1; `either` follows from them."""

    column: float
    row: float
    both: float

    @property
    def either(self) -> float:
        """Share of the delta that lies in the column space or in the row space."""
        return self.column + self.row - self.both

    def side(self, name: str) -> float:
        """The overlap called column, row, both or either."""
        return float(getattr(self, name))


_BLOCK = 1 << 18
"""Entries that are widened to float64 at a time, into memory that is used again."""


def squared_norm(matrix: Float[Tensor, "..."]) -> float:
    """‖·‖_F² summed in float64."""
    rows = max(1, _BLOCK * max(len(matrix), 1) // max(matrix.numel(), 1))
    parts = matrix.split(rows)
    buffer = matrix.new_empty(parts[0].numel(), dtype=torch.float64)
    total = 0.0
    for part in parts:
        wide = buffer[: part.numel()]
        wide.view(part.shape).copy_(part)
        total += float(wide.dot(wide))
    return total


def subspace_overlap(delta: Measurable, subspace: Subspace) -> SubspaceOverlap:
    """Column, row and both, at most 1. Raises ZeroDivisionError for a delta of zeros."""
    if isinstance(delta, Compact):
        return compact_overlap(delta, subspace)
    return dense_overlap(delta.matrix, subspace)


def dense_overlap(delta: Float[Tensor, "m n"], subspace: Subspace) -> SubspaceOverlap:
    """The overlaps of a matrix, by 4 m n k operations and no n x n matrix."""
    total = squared_norm(delta)
    u, v = subspace.u.to(delta.dtype), subspace.v.to(delta.dtype)
    inner = u.T @ delta
    return SubspaceOverlap(
        column=_share(inner, total),
        row=_share(delta @ v, total),
        both=_share(inner @ v, total),
    )


def compact_overlap(delta: Compact, subspace: Subspace) -> SubspaceOverlap:
    """The overlaps of a delta of low rank, from its singular vectors alone."""
    total = squared_norm(delta.sigma)
    left = (subspace.u.double().T @ delta.left) * delta.sigma
    right = subspace.v.double().T @ delta.right
    return SubspaceOverlap(
        column=_share(left, total),
        row=_share(right * delta.sigma, total),
        both=_share(left @ right.T, total),
    )


def _share(part: Float[Tensor, "..."], total: float) -> float:
    # rounding can carry the part of a delta that lies wholly inside past the whole
    return min(1.0, squared_norm(part) / total)
