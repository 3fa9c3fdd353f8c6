"""Intervals for shares and means, and for the difference of two models on the same questions."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

Z95 = float(stats.norm.ppf(0.975))
Z80 = float(stats.norm.ppf(0.80))
RESAMPLES = 10_000

Interval = tuple[float, float]


@dataclass(frozen=True)
class Estimate:
    """A mean over questions, its standard error and its 95 % interval."""

    value: float
    stderr: float
    ci95: Interval


@dataclass(frozen=True)
class Difference:
    """b minus a on the same questions.

    p: exact McNemar test (binary verdicts) or a sign-flip bootstrap, two-sided. detectable: the
    difference that this set would have shown with 80 % power at the 5 % level. a_only, b_only:
    questions on which a, or b, scored higher.
    """

    value: float
    ci95: Interval
    p: float
    detectable: float
    a_only: int
    b_only: int


def wilson(successes: int, n: int) -> Interval:
    """Wilson's score interval for a share (Wilson 1927), 95 %. Raises ValueError for n = 0."""
    if n <= 0:
        raise ValueError("no questions, no interval")
    share, z2 = successes / n, Z95**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def bootstrap(values: Sequence[float], *, seed: int = 0) -> Interval:
    """Percentile bootstrap of the mean over questions, 95 %."""
    means = _resampled_means(np.asarray(values, dtype=np.float64), seed)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def estimate(values: Sequence[float]) -> Estimate:
    """Mean of verdicts: Wilson's interval where all are 0 or 1, else bootstrap."""
    n, mean = len(values), math.fsum(values) / len(values)
    if _binary(values):
        return Estimate(mean, math.sqrt(mean * (1 - mean) / n), wilson(round(mean * n), n))
    spread = float(np.std(values, ddof=1)) / math.sqrt(n) if n > 1 else math.nan
    return Estimate(mean, spread, bootstrap(values))


def paired(a: Sequence[float], b: Sequence[float]) -> Difference:
    """Difference b − a over the same questions. Raises ValueError where the lengths differ."""
    if len(a) != len(b) or not a:
        raise ValueError(f"pairs of {len(a)} and {len(b)} verdicts")
    n = len(a)
    a_only = sum(x > y for x, y in zip(a, b, strict=True))
    b_only = sum(y > x for x, y in zip(a, b, strict=True))
    value = (math.fsum(b) - math.fsum(a)) / n
    if _binary(a) and _binary(b):
        discordant = a_only + b_only
        p = float(stats.binomtest(a_only, discordant).pvalue) if discordant else 1.0
        # one more flip than seen, so that a set without flips does not claim to see everything
        spread = math.sqrt(discordant + 1) / n
        return Difference(value, newcombe(a, b), p, (Z95 + Z80) * spread, a_only, b_only)
    gaps = np.asarray(b, dtype=np.float64) - np.asarray(a, dtype=np.float64)
    spread = float(np.std(gaps, ddof=1)) / math.sqrt(n) if n > 1 else math.nan
    centred = np.abs(_resampled_means(gaps - gaps.mean(), seed=1))
    p = float((1 + np.sum(centred >= abs(value))) / (1 + RESAMPLES))
    ci95 = bootstrap(gaps.tolist())
    return Difference(value, ci95, p, (Z95 + Z80) * spread, a_only, b_only)


def newcombe(a: Sequence[float], b: Sequence[float]) -> Interval:
    """95 % interval of b − a for paired shares (Newcombe 1998, Statist. Med. 17:2635, method 10).

    Unlike a bootstrap it does not collapse to a point where no verdict flipped.
    """
    n = len(a)
    both = sum(x == 1 and y == 1 for x, y in zip(a, b, strict=True))
    b_only = sum(x == 0 and y == 1 for x, y in zip(a, b, strict=True))
    a_only = sum(x == 1 and y == 0 for x, y in zip(a, b, strict=True))
    neither = n - both - a_only - b_only
    share_b, share_a = (both + b_only) / n, (both + a_only) / n
    (low_b, high_b), (low_a, high_a) = wilson(both + b_only, n), wilson(both + a_only, n)
    phi = _phi(both, b_only, a_only, neither)
    below, above = share_b - low_b, high_b - share_b
    below_a, above_a = share_a - low_a, high_a - share_a
    lower = below**2 - 2 * phi * below * above_a + above_a**2
    upper = above**2 - 2 * phi * above * below_a + below_a**2
    difference = share_b - share_a
    return difference - math.sqrt(max(lower, 0)), difference + math.sqrt(max(upper, 0))


def _phi(e: int, f: int, g: int, h: int) -> float:
    """Correlation of the pairs in the 2 x 2 table, with Newcombe's continuity correction."""
    product = (e + f) * (g + h) * (e + g) * (f + h)
    if product == 0:
        return 0.0
    cross, n = e * h - f * g, e + f + g + h
    if cross > 0:
        cross_corrected = max(cross - n / 2, 0.0)
    else:
        cross_corrected = float(cross)
    return cross_corrected / math.sqrt(product)


def _resampled_means(values: np.ndarray, seed: int) -> np.ndarray:
    generator = np.random.Generator(np.random.Philox(seed))
    rows = max(1, 10_000_000 // len(values))
    means = [
        values[generator.integers(len(values), size=(min(rows, RESAMPLES - done), len(values)))]
        .mean(axis=1)
        for done in range(0, RESAMPLES, rows)
    ]  # fmt: skip
    return np.concatenate(means)


def _binary(values: Sequence[float]) -> bool:
    return all(v in (0.0, 1.0) for v in values)
