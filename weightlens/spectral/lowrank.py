"""The best approximation of a delta by factors of low rank, and how good it is.

With U_r the leading singular vectors of the short side (m ≤ n; else the mirror image with V_r):

    B = U_r Σ_r^½     A = Σ_r^−½ U_rᵀ Δ     B A = U_r U_rᵀ Δ,

the nearest matrix of rank r (Eckart & Young 1936). Its error is what the projection leaves,
‖Δ − B A‖² = ‖Δ‖² − ‖U_rᵀ Δ‖² = Σ_{i>r} σ_i², whatever path has found U_r. No SVD of Δ is taken: the
short side's Gram matrix gives U_r, and products with it the other side.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from weightlens.delta import Delta, Dense, Factored
from weightlens.spectral.basis import Factorisation, FactorisationPath, factorise
from weightlens.spectral.gram import long_product, wide
from weightlens.spectral.noise import hard_threshold, rank_above
from weightlens.spectral.partial import factorise_leading
from weightlens.spectral.rank import SubspaceSize, energy_rank

TruncationBy = Literal["energy", "rank", "noise"]

LowRankPath = FactorisationPath | Literal["factored"]
"""How the singular vectors were found; factored: from the delta's own factors, by QR."""


@dataclass(frozen=True)
class Truncation:
    """How many singular triplets of a delta are kept.

    by energy: the fewest that hold `value` (0 to 1] of ‖Δ‖²; by rank: `value` of them; by noise:
    those above Gavish and Donoho's threshold (`noise.hard_threshold`), `value` being None. most:
    never more than that. Directions that are rounding in the spectrum itself are never kept.
    """

    by: TruncationBy = "energy"
    value: int | float | None = 0.9
    most: int | None = None

    def __post_init__(self) -> None:
        """Raises ValueError for a value outside its range."""
        if self.most is not None and self.most < 1:
            raise ValueError(f"the largest rank must be at least 1, not {self.most}")
        if self.by == "noise":
            if self.value is not None:
                raise ValueError("the noise sets the rank by itself and takes no value")
        elif self.value is None:
            raise ValueError(f"{self.by} needs a value")
        else:
            SubspaceSize(self.by, self.value)

    def enough(self, d: int) -> int | None:
        """How many of d leading triplets decide; None where all singular values do."""
        if self.by == "noise":
            return None
        bounds = [bound for bound in (self._fixed, self.most) if bound is not None]
        return min(*bounds, d) if bounds else None

    @property
    def _fixed(self) -> int | None:
        return int(self.value) if self.by == "rank" and self.value is not None else None

    def rank(
        self, sigma_squared: Float[Tensor, "h"], energy: float, threshold: float | None
    ) -> int:
        """r, for the leading squared singular values of a delta with ‖Δ‖² = energy.

        threshold: that of the noise; None where every value given stands above it.
        """
        kept = len(sigma_squared)
        if self._fixed is not None:
            kept = min(kept, self._fixed)
        elif self.by == "energy" and self.value is not None:
            beyond = sigma_squared.new_tensor([max(energy - float(sigma_squared.sum()), 0.0)])
            kept = min(kept, energy_rank(torch.cat([sigma_squared, beyond]), float(self.value)))
        elif threshold is not None:
            kept = rank_above(sigma_squared.sqrt(), threshold)
        return kept if self.most is None else min(kept, self.most)


@dataclass(frozen=True)
class LowRank:
    """An approximation of a delta.

    factors: B and A, float32, of rank 0 where nothing is kept; scale 1. norm: ‖Δ‖. lost: ‖Δ − B A‖,
    before the factors are rounded to float32, which moves it by about 1e-7 ‖Δ‖; what is below that
    is rounding. threshold: that of the noise, where it was asked for and there is a bulk to read it
    from.
    """

    factors: Factored
    norm: float
    lost: float
    path: LowRankPath
    threshold: float | None = None

    @property
    def error(self) -> float:
        """‖Δ − B A‖ / ‖Δ‖, 0 to 1; 0 for a delta of zeros."""
        return self.lost / self.norm if self.norm else 0.0

    @property
    def energy(self) -> float:
        """Share of ‖Δ‖² that is kept, 0 to 1; 1 for a delta of zeros."""
        return 1.0 - self.error**2


def truncated(delta: Delta, size: Truncation) -> LowRank:
    """The delta's leading singular triplets as factors, in float64 until the end.

    Factored deltas are not multiplied out, and `noise` keeps all of their rank: they have no bulk
    of noise to read a threshold from. Of dense ones the certified partial path finds the leading
    triplets where they are enough and it is worthwhile, else all are found.
    """
    return _of_factored(delta, size) if isinstance(delta, Factored) else _of_dense(delta, size)


def _of_factored(delta: Factored, size: Truncation) -> LowRank:
    compact = delta.compact()
    sigma = compact.sigma
    energy = float(sigma.square().sum())
    floor = torch.finfo(torch.float64).eps * max(delta.shape)
    known = sigma[: rank_above(sigma, floor * float(sigma[0]))] if len(sigma) else sigma
    r = size.rank(known.square(), energy, None)
    root = sigma[:r].sqrt()
    factors = Factored(
        (compact.left[:, :r] * root).float(), (compact.right[:, :r] * root).T.float()
    )
    lost = math.sqrt(float(sigma[r:].square().sum()))
    return LowRank(factors, math.sqrt(energy), lost, "factored")


def _of_dense(delta: Dense, size: Truncation) -> LowRank:
    matrix, (m, n) = delta.matrix, delta.shape
    norm = float(torch.linalg.vector_norm(matrix, dtype=torch.float64))
    enough = size.enough(min(m, n))
    found = factorise(matrix) if enough is None else factorise_leading(matrix, enough)
    threshold = hard_threshold(found.sigma, m=m, n=n) if size.by == "noise" else None
    # eigenvalues below this are what rounding makes of nothing when G is formed
    floor = torch.finfo(torch.float64).eps * max(m, n) * float(found.sigma_squared[0])
    known = found.sigma_squared[: rank_above(found.sigma_squared, floor)]
    r = size.rank(known, norm**2, threshold)
    short, long = found.vectors[:, :r], _long_side(found, r)
    # the norms of what is written, rather than the eigenvalues: the two agree but for rounding
    root = torch.linalg.vector_norm(long, dim=0).sqrt()
    kept = float(root.square().square().sum())
    short, long = (short * root).float(), (long / root).float()
    factors = Factored(short, long.T) if m <= n else Factored(long, short.T)
    return LowRank(factors, norm, math.sqrt(max(norm**2 - kept, 0.0)), found.path, threshold)


def _long_side(found: Factorisation, r: int) -> Float[Tensor, "e r"]:
    """Δᵀ U_r, or Δ V_r where the matrix is tall."""
    if found.long is not None:
        return found.long[:, :r] * found.sigma[:r]
    return long_product(wide(found.matrix), found.vectors[:, :r])
