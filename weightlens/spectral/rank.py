"""Numbers that say how many directions a matrix uses, from its singular values."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

RankBy = Literal["energy", "rank", "fraction"]


def stable_rank(sigma: Float[Tensor, "k"]) -> float:
    """‖·‖_F² / σ₁² (Rudelson & Vershynin 2007): between 1 and the rank; nan for a zero matrix."""
    squared = sigma.double().square()
    return float(squared.sum() / squared.max()) if squared.any() else math.nan


def effective_rank(sigma: Float[Tensor, "k"]) -> float:
    """exp of the entropy of q = σ / Σσ (Roy & Vetterli 2007); nan for a zero matrix."""
    total = sigma.double().sum()
    if total == 0:
        return math.nan
    q = sigma.double() / total
    return float(torch.exp(-torch.special.xlogy(q, q).sum()))


def participation_ratio(sigma: Float[Tensor, "k"]) -> float:
    """(Σσ²)² / Σσ⁴: between 1 and the rank; nan for a zero matrix."""
    squared = sigma.double().square()
    return float(squared.sum().square() / squared.square().sum()) if squared.any() else math.nan


@dataclass(frozen=True)
class SubspaceSize:
    """How many singular vectors a subspace takes.

    by energy: the fewest whose squared singular values hold `value` (0 to 1] of their sum;
    by rank: `value` itself; by fraction: round(value * min(m, n)), at least 1.
    """

    by: RankBy = "energy"
    value: int | float = 0.5

    def __post_init__(self) -> None:
        """Raises ValueError for a value outside its range."""
        if self.by == "rank" and not (self.value >= 1 and float(self.value).is_integer()):
            raise ValueError(f"rank must be a whole number of at least 1, not {self.value:g}")
        if self.by != "rank" and not 0 < self.value <= 1:
            raise ValueError(f"{self.by} must be above 0 and at most 1, not {self.value:g}")

    def rank(self, sigma_squared: Float[Tensor, "k"]) -> int:
        """k, for squared singular values in descending order (all min(m, n) of them).

        Raises ValueError where a rank is asked for that exceeds min(m, n).
        """
        fixed = self.fixed_rank(len(sigma_squared))
        return energy_rank(sigma_squared, self.value) if fixed is None else fixed

    def fixed_rank(self, full: int) -> int | None:
        """k where it does not depend on the spectrum; full: min(m, n).

        Raises ValueError where a rank is asked for that exceeds it.
        """
        if self.by == "energy":
            return None
        if self.by == "fraction":
            return max(1, round(self.value * full))
        if self.value > full:
            raise ValueError(f"rank {self.value:g} exceeds min(m, n) = {full}")
        return int(self.value)


def energy_rank(sigma_squared: Float[Tensor, "k"], energy: float) -> int:
    """Smallest k with Σ_{i≤k} σ_i² ≥ energy · Σ σ_i²; 1 for a zero matrix."""
    cumulated = sigma_squared.double().cumsum(0)
    # a relative slack of rounding size, so that energy 1 does not ask for directions of zeros
    wanted = energy * cumulated[-1] * (1 - 4 * torch.finfo(torch.float64).eps * len(cumulated))
    return min(int(torch.searchsorted(cumulated, wanted)) + 1, len(cumulated))
