"""Power-law tail of an eigenvalue spectrum, as WeightWatcher's alpha.

    p(x) ∝ x^−α for x ≥ x_min
    α(x_min) = 1 + n / Σ ln(x_i / x_min)          over the n values x_i ≥ x_min
    D(x_min) = max_{x ≥ x_min} |S(x) − P(x)|,      P(x) = 1 − (x / x_min)^(1−α)

x_i are the eigenvalues of W Wᵀ (squared singular values), α the maximum-likelihood exponent, S the
empirical and P the fitted distribution function, D the Kolmogorov-Smirnov distance. x_min is the
value whose D is smallest. α and D do not depend on the scale of W. Heavy-tailed spectra, α between
2 and 6 (Martin, Peng & Mahoney 2021, arXiv:2002.06716), are those of well-trained layers.

Clauset, Shalizi & Newman 2009, arXiv:0706.1062, sections 3.1 and 3.3 (continuous case).
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class PowerLawTail:
    """A fitted tail.

    alpha: the exponent, above 1. minimum: x_min. distance: D, 0 to 1. size: how many values are in
    the tail.
    """

    alpha: float
    minimum: float
    distance: float
    size: int

    @property
    def alpha_std(self) -> float:
        """Standard error of alpha to first order, (α − 1) / √n."""
        return (self.alpha - 1) / math.sqrt(self.size)


def power_law_tail(eigenvalues: Float[Tensor, "k"]) -> PowerLawTail | None:
    """The fit with the smallest distance among all distinct values but the largest as x_min.

    Values of zero or below have no place on a power law and are left out. None where fewer than
    two distinct values remain. O(k²), in float64; of equal distances the larger tail wins.
    """
    values = eigenvalues.double()
    ordered = values[values > 0].sort().values
    logs, best = ordered.log(), None
    for start in _first_of_each(ordered)[:-1]:
        excess = logs[start:] - logs[start]
        total = float(excess.sum())
        if total == 0:  # distinct values can share a logarithm, by rounding
            continue
        slope = len(excess) / total
        distance = _distance(slope * excess)
        if best is None or distance < best.distance:
            best = PowerLawTail(1 + slope, float(ordered[start]), distance, len(excess))
    return best


def _first_of_each(ordered: Float[Tensor, "k"]) -> list[int]:
    """Where each distinct value begins."""
    rises = torch.nonzero(ordered[1:] > ordered[:-1]).flatten() + 1
    return [0, *rises.tolist()] if len(ordered) else []


def _distance(exponential: Float[Tensor, "n"]) -> float:
    """D of ascending values that would follow the unit exponential distribution.

    S jumps at each value, so both the step's foot and its top are compared.
    """
    fitted = -torch.expm1(-exponential)
    n = len(fitted)
    steps = torch.arange(n + 1, dtype=fitted.dtype, device=fitted.device) / n
    return float(torch.maximum((fitted - steps[:-1]).max(), (steps[1:] - fitted).max()))
