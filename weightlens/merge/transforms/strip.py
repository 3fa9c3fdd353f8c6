"""Strip: scales down the part of a delta that overlaps the base's top singular subspaces.

With P = U_k U_kᵀ and Q = V_k V_kᵀ, the part of Δ that lies *in* them is

    column   P Δ          both     P Δ Q
    row      Δ Q          either   Δ − (I−P) Δ (I−Q)

and Δ' = c · in + out, c between 0 and 1. `strength: γ` gives c = 1 − γ. `target: τ` gives the c
that leaves overlap τ, c² = τ/(1−τ) · ‖out‖²/‖in‖², and does not touch a delta at or below τ.
A factored delta stays factored: with Δ = B A,

    column   (I − (1−c)P) B · A               both     [B, PB] · [A; −(1−c) A Q]
    row      B · A (I − (1−c)Q)               either   [cB, (1−c)(I−P)B] · [A; A(I−Q)]

The projection is that of arXiv:2507.17075, here with a strength, a target and all sides.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from weightlens.delta import Compact, Delta, Dense, Factored, added, measurable
from weightlens.merge.transforms.energies import Energies, Side, energies_of, projected
from weightlens.overlap.chance import either_mean
from weightlens.overlap.subspace import squared_norm
from weightlens.spectral.basis import Subspace
from weightlens.spectral.rank import RankBy, SubspaceSize

WHOLLY_INSIDE = 1e-12
"""A delta with a smaller share outside has no outside: that much is rounding."""
_CANCELS = 1e-3
"""A share outside that is smaller is not taken for a difference of energies."""


class Strip(BaseModel):
    """Parameters of the transform.

    side: which part overlaps: what the delta writes (column) or reads (row), both, or either.
    energy: the size of the subspace, as the share of the base's energy in it, 0.5 where no size is
    given; rank: instead of energy, as the number of singular vectors; fraction: instead of energy,
    as the share of all singular vectors. target: lower the overlap to this, 0 to below 1, or to
    chance. strength: instead of a target, scale what overlaps by 1 less this, 0 to 1.
    preserve_norm: scale the result back to the delta's norm. subspace: random takes Haar-random
    ones of the same rank instead of the base's, a control for all but target chance.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    side: Side = "column"
    energy: float | None = Field(default=None, gt=0, le=1)
    rank: int | None = Field(default=None, ge=1)
    fraction: float | None = Field(default=None, gt=0, le=1)
    strength: float | None = Field(default=None, ge=0, le=1)
    target: Literal["chance"] | float | None = None
    preserve_norm: bool = False
    subspace: Literal["base", "random"] = "base"

    @model_validator(mode="after")
    def _exactly_one(self) -> "Strip":
        if len([v for v in (self.energy, self.rank, self.fraction) if v is not None]) > 1:
            raise ValueError("give one of energy, rank and fraction")
        if (self.strength is None) == (self.target is None):
            raise ValueError("give exactly one of strength and target")
        if isinstance(self.target, float) and not 0 <= self.target < 1:
            raise ValueError("target must be at least 0 and below 1, or chance")
        return self

    @property
    def size(self) -> SubspaceSize:
        """The size of the subspace; energy 0.5 where none is given."""
        sizes: dict[RankBy, float | None] = {
            "rank": self.rank,
            "fraction": self.fraction,
            "energy": self.energy,
        }
        by, value = next(((b, v) for b, v in sizes.items() if v is not None), ("energy", 0.5))
        return SubspaceSize(by, value)


@dataclass(frozen=True)
class Stripped:
    """A delta after the transform, the share of it that lay in the subspace, and the factor c.

    untouched: the delta is the very one that came in. before, after: how its energy lay and lies to
    the subspace; after by algebra from before and c, None where nothing is left of the delta.
    """

    delta: Delta
    inside: float
    factor: float
    untouched: bool
    before: Energies
    after: Energies | None


def strip(delta: Delta, subspace: Subspace, parameters: Strip) -> Stripped:
    """Strips one delta, which must not be all zeros.

    Raises ValueError where a target above 0 is asked of a delta that lies wholly in the subspace:
    no scaling of the part inside changes its share there.
    """
    side = parameters.side
    dense = projected(delta.matrix, subspace) if isinstance(delta, Dense) else None
    before = dense.energies if dense else energies_of(delta, subspace)
    inside = before.inside(side)
    outside = _outside(delta, subspace, side, before)
    share = inside / (inside + outside)
    factor = factor_for(inside, outside, parameters, subspace.rank, delta.shape)
    if factor == 1.0:
        return Stripped(delta, share, 1.0, True, before, before)
    left = factor**2 * inside + outside
    if left < WHOLLY_INSIDE * inside:
        return Stripped(delta.scaled(0.0), share, factor, False, before, None)
    stripped: Delta
    if isinstance(delta, Factored):
        stripped = scaled_inside(delta, subspace, side, factor)
    else:
        assert dense is not None
        stripped = Dense(dense.scaled_inside(side, factor))
    if parameters.preserve_norm:
        stripped = stripped.scaled(math.sqrt((inside + outside) / left))
    return Stripped(stripped, share, factor, False, before, before.stripped(side, factor))


def _outside(delta: Delta, subspace: Subspace, side: Side, energies: Energies) -> float:
    """Energy outside. Where little is left of the difference, it is measured and not subtracted:
    rounding would be all that remains."""
    outside = energies.total - energies.inside(side)
    if outside > _CANCELS * energies.total:
        return outside
    return squared_norm_of(added(delta, inside_part(delta, subspace, side).scaled(-1.0)))


def factor_for(
    inside: float, outside: float, parameters: Strip, k: int, shape: tuple[int, int]
) -> float:
    """c, between 0 and 1, for a delta of squared norms ‖in‖² = inside and ‖out‖² = outside."""
    if inside == 0:
        return 1.0
    if parameters.strength is not None:
        return 1.0 - parameters.strength
    assert parameters.target is not None
    target = parameters.target
    if target == "chance":
        target = chance_of(parameters.side, k, shape)
    if inside <= target * (inside + outside):
        return 1.0
    if target > 0 and outside < WHOLLY_INSIDE * inside:
        raise ValueError(f"the delta lies wholly inside; target {target:g} is out of reach")
    return min(1.0, math.sqrt(target / (1 - target) * outside / inside))


def chance_of(side: Side, k: int, shape: tuple[int, int]) -> float:
    """Overlap by chance for a side."""
    m, n = shape
    if side == "either":
        return either_mean(k=k, m=m, n=n)
    return {"column": k / m, "row": k / n, "both": k * k / (m * n)}[side]


def squared_norm_of(delta: Delta) -> float:
    """‖Δ‖²; that of a factored delta from its singular values."""
    measured = measurable(delta)
    return squared_norm(measured.sigma if isinstance(measured, Compact) else measured.matrix)


def inside_part(delta: Delta, subspace: Subspace, side: Side) -> Delta:
    """The part of a delta that lies in the subspace: an orthogonal projection of it."""
    u, v = subspace.u, subspace.v
    if isinstance(delta, Factored):
        b_in, a_in = _projected_factors(delta, subspace)
        if side == "either":
            b = torch.cat([delta.b, b_in - delta.b], 1)
            return Factored(b, torch.cat([delta.a, delta.a - a_in], 0), delta.scale)
        b = delta.b if side == "row" else b_in
        return Factored(b, delta.a if side == "column" else a_in, delta.scale)
    matrix = delta.matrix
    if side == "column":
        return Dense(u @ (u.T @ matrix))
    if side == "row":
        return Dense((matrix @ v) @ v.T)
    if side == "both":
        return Dense(u @ (u.T @ matrix @ v) @ v.T)
    outside = matrix - u @ (u.T @ matrix)
    return Dense(matrix - (outside - (outside @ v) @ v.T))


def _projected_factors(
    delta: Factored, subspace: Subspace
) -> tuple[Float[Tensor, "m r"], Float[Tensor, "r n"]]:
    u, v = subspace.u, subspace.v
    return u @ (u.T @ delta.b), (delta.a @ v) @ v.T


def scaled_inside(delta: Factored, subspace: Subspace, side: Side, factor: float) -> Delta:
    """c · in + out of a factored delta, in factors."""
    b, a, c = delta.b, delta.a, factor
    b_in, a_in = _projected_factors(delta, subspace)
    if side == "column":
        return Factored(b - (1 - c) * b_in, a, delta.scale)
    if side == "row":
        return Factored(b, a - (1 - c) * a_in, delta.scale)
    if side == "both":
        left, right = torch.cat([b, b_in], 1), torch.cat([a, (c - 1) * a_in], 0)
    else:
        left, right = torch.cat([c * b, (1 - c) * (b - b_in)], 1), torch.cat([a, a - a_in], 0)
    return recompressed(Factored(left, right, delta.scale))


def recompressed(delta: Factored) -> Factored:
    """The same product with the fewest columns: directions of rounding size dropped."""
    compact = delta.compact()
    floor = 4 * torch.finfo(torch.float32).eps * compact.sigma[0]
    kept = max(1, int((compact.sigma > floor).sum()))
    b = compact.left[:, :kept] * compact.sigma[:kept]
    return Factored(b.float(), compact.right[:, :kept].T.contiguous().float())
