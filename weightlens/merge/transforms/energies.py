"""How the energy of a delta lies to a subspace: what a strip needs to know and to report.

P = U Uᵀ and Q = V Vᵀ cut a delta into four parts that are orthogonal to each other,

    PΔQ        both                     PΔ(I−Q)        column − both
    (I−P)ΔQ    row − both               (I−P)Δ(I−Q)    total − either

so the energies of a delta whose part inside is scaled follow from its own, without a product.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from weightlens.delta import Delta, Dense
from weightlens.overlap.subspace import SubspaceOverlap, compact_overlap, squared_norm
from weightlens.spectral.basis import Subspace

Side = Literal["column", "row", "both", "either"]


@dataclass(frozen=True)
class Energies:
    """‖Δ‖², ‖UᵀΔ‖², ‖ΔV‖² and ‖UᵀΔV‖²."""

    total: float
    column: float
    row: float
    both: float

    def inside(self, side: Side) -> float:
        """Energy of the part that lies in the subspace."""
        if side == "either":
            return self.column + self.row - self.both
        return {"column": self.column, "row": self.row, "both": self.both}[side]

    def overlap(self) -> SubspaceOverlap | None:
        """As shares of the total, at most 1; None for a delta of zeros."""
        if self.total <= 0:
            return None
        shares = (min(1.0, part / self.total) for part in (self.column, self.row, self.both))
        return SubspaceOverlap(*shares)

    def stripped(self, side: Side, factor: float) -> "Energies":
        """Of the delta whose part inside is scaled by the factor."""
        gone = 1 - factor**2
        column = self.column - gone * (self.both if side in ("row", "both") else self.column)
        row = self.row - gone * (self.both if side in ("column", "both") else self.row)
        total = self.total - gone * self.inside(side)
        return Energies(max(total, 0.0), column, row, self.both - gone * self.both)


@dataclass(frozen=True)
class Projected:
    """A dense delta with its products with a subspace, by 4 m n k operations."""

    matrix: Float[Tensor, "m n"]
    subspace: Subspace
    left: Float[Tensor, "k n"]
    right: Float[Tensor, "m k"]
    core: Float[Tensor, "k k"]
    energies: Energies

    def scaled_inside(self, side: Side, factor: float) -> Float[Tensor, "m n"]:
        """c · in + out."""
        u, v, less = self.subspace.u, self.subspace.v, factor - 1
        if side == "column":
            return torch.addmm(self.matrix, u, self.left, alpha=less)
        if side == "row":
            return torch.addmm(self.matrix, self.right, v.T, alpha=less)
        if side == "both":
            return torch.addmm(self.matrix, u, self.core @ v.T, alpha=less)
        only_right = self.right - u @ self.core
        stripped = torch.addmm(self.matrix, u, self.left, alpha=less)
        return stripped.addmm_(only_right, v.T, alpha=less)


def projected(matrix: Float[Tensor, "m n"], subspace: Subspace) -> Projected:
    """A dense delta measured against a subspace."""
    u, v = subspace.u, subspace.v
    left, right = u.T @ matrix, matrix @ v
    core = left @ v
    energies = Energies(*map(squared_norm, (matrix, left, right, core)))
    return Projected(matrix, subspace, left, right, core, energies)


def energies_of(delta: Delta, subspace: Subspace) -> Energies:
    """Of any delta; of one in factors in O((m + n) r (r + k)), without a product."""
    if isinstance(delta, Dense):
        return projected(delta.matrix, subspace).energies
    if delta.is_zero():
        return Energies(0.0, 0.0, 0.0, 0.0)
    compact = delta.compact()
    total = squared_norm(compact.sigma)
    overlap = compact_overlap(compact, subspace)
    return Energies(total, *(s * total for s in (overlap.column, overlap.row, overlap.both)))
