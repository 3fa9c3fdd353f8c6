"""Where the singular values of a delta stop being noise.

Three thresholds for an m x n matrix, d = min(m, n), e = max(m, n), β = d / e; `rank_above` counts
the singular values over one of them.

    hard threshold       ω(β) median(σ),   ω(β) = λ(β) / √μ_β,
                         λ(β)² = 2 (β + 1) + 8 β / (β + 1 + √(β² + 14 β + 1))
                         μ_β: median of the Marchenko-Pastur law. The noise may be unknown; it
                         minimises the worst mean squared error of the truncated matrix.
                         Gavish & Donoho 2014, arXiv:1305.5870, sections I and III
    Tracy-Widom edge     noise √(μ + 0.9793 s),   μ = (√(e−1) + √d)²,
                         s = (√(e−1) + √d) (1/√(e−1) + 1/√d)^(1/3)
                         exceeded by the largest singular value of pure noise of known standard
                         deviation in one case of 20. Johnstone 2001, Annals of Statistics 29(2),
                         theorem 1.1
    rounding floor       √(E / (mn)) (√m + √n),   E = `rounding_energy`, ‖rounding errors‖²
                         about the largest singular value of independent rounding errors, each of
                         variance E / (mn). Yin, Bai & Krishnaiah 1988, Probability Theory and
                         Related Fields 78
"""

import math
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

TW1_95 = 0.9793
"""0.95 quantile of the Tracy-Widom law of order 1 (Johnstone 2001, table 1: 0.98; Patterson, Price
& Reich 2006, PLoS Genetics 2(12), e190: 0.9793)."""


def rank_above(sigma: Float[Tensor, "k"], threshold: float) -> int:
    """How many singular values exceed the threshold."""
    return int((sigma.double() > threshold).sum())


def hard_threshold(sigma: Float[Tensor, "d"], *, m: int, n: int) -> float:
    """Gavish and Donoho's threshold, the noise being read off the median of σ.

    sigma: all min(m, n) singular values, else ValueError. Sound where fewer than half of them
    carry signal; a matrix of exact rank below d / 2 has median 0 and so threshold 0.
    """
    if len(sigma) != min(m, n):
        raise ValueError(f"all min(m, n) = {min(m, n)} singular values are needed")
    median = float(torch.quantile(sigma.double(), 0.5))
    return threshold_factor(min(m, n) / max(m, n)) * median


def threshold_factor(beta: float) -> float:
    """ω(β): hard threshold over median singular value; 1.43 for β near 0, 2.858 for a square.

    Raises ValueError for β outside (0, 1].
    """
    if not 0 < beta <= 1:
        raise ValueError(f"beta must be above 0 and at most 1, not {beta:g}")
    root = math.sqrt(beta * beta + 14 * beta + 1)
    squared = 2 * (beta + 1) + 8 * beta / (beta + 1 + root)
    return math.sqrt(squared / marchenko_pastur_median(beta))


@lru_cache(maxsize=256)
def marchenko_pastur_median(beta: float) -> float:
    """Median of the Marchenko-Pastur law with unit variance and ratio β, by integration.

    With t = 1 + β + 2 √β cos θ, 0 < θ < π, the density √((β₊ − t)(t − β₋)) / (2 π β t) dt becomes
    2 sin² θ / (π t) dθ, which is smooth where the density in t has roots and a pole.
    """
    # here: they take as long to import as numpy, and most commands need no median
    from scipy.integrate import quad
    from scipy.optimize import brentq

    def value(theta: float) -> float:
        return 1 + beta + 2 * math.sqrt(beta) * math.cos(theta)

    def above(theta: float) -> float:
        mass, _ = quad(lambda angle: 2 * math.sin(angle) ** 2 / (math.pi * value(angle)), 0, theta)
        return mass - 0.5

    return value(float(brentq(above, 0.0, math.pi, xtol=1e-13)))


def tracy_widom_edge(*, m: int, n: int, noise: float) -> float:
    """What the largest singular value of noise alone stays below with probability 0.95.

    noise: standard deviation of one entry, 0 or more. The law is a limit; Johnstone finds it
    satisfactory from min(m, n) = 10 on. Raises ValueError for a matrix of one entry.
    """
    short, long = min(m, n), max(m, n)
    if long < 2:
        raise ValueError("a matrix of one entry has no edge")
    root = math.sqrt(long - 1) + math.sqrt(short)
    spread = root * (1 / math.sqrt(long - 1) + 1 / math.sqrt(short)) ** (1 / 3)
    return noise * math.sqrt(root * root + TW1_95 * spread)


def rounding_floor(*, m: int, n: int, rounding_energy: float) -> float:
    """What rounding to the stored dtype alone would give as largest singular value.

    rounding_energy: Σ ulp² / 12 over all entries (`overlap.rounding.rounding_energy`). The errors
    are taken as equally large everywhere; where a few rows hold the largest weights it reads low.
    """
    return math.sqrt(rounding_energy / (m * n)) * (math.sqrt(m) + math.sqrt(n))
