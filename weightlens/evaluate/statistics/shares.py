"""Shares and means of verdicts over questions, with intervals that hold at 0, at 1 and for few.

A question is the unit that was sampled, so its k draws count as one value, their mean x in [0, 1];
that is what clustering by question comes to when every question has as many draws. The interval is
Wilson's, for the number of independent yes-or-no questions that would leave as much doubt:

    D      the spread of x as a share of the largest that [0, 1] allows at that mean,
           D = var(x) / (m (1 - m)); 1 for verdicts that are all 0 or 1, 1/k for pure luck
    n_eff  n / D, the effective sample size

Saha, Miller & Wang 2016, Int. J. Biostat. 12(2), and Franco, Little, Louis & Slud 2019, J. Surv.
Stat. Methodol. 7:334, compare Wilson's interval on an effective sample size with its rivals. Both
find that it covers too little where D is estimated from few clusters that say anything, so D is
drawn towards 1 as if two further questions had spread as far as they can.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import special

Z95 = float(special.ndtri(0.975))
Z80 = float(special.ndtri(0.80))

CAUTION = 2.0
"""Questions of the largest possible spread that are added in estimating D. By simulation with 8
draws of 30 to 500 questions: with none the interval covers as little as 0.90 (a mean of 0.02), with
one 0.936, with two 0.94, and more make it wider for nothing."""

Interval = tuple[float, float]
Values = Float[np.ndarray, "questions"]


@dataclass(frozen=True)
class Estimate:
    """A mean over questions, its standard error and its 95 % interval.

    stderr: NaN for one question whose value is neither 0 nor 1.
    """

    value: float
    stderr: float
    ci95: Interval


def wilson(successes: int, n: int) -> Interval:
    """Wilson's score interval for a share (Wilson 1927), 95 %. Raises ValueError for n = 0."""
    if n <= 0:
        raise ValueError("no questions, no interval")
    return _score_interval(successes / n, float(n))


def clustered(values: Sequence[float]) -> Interval:
    """Wilson's interval on the effective sample size, 95 %: of verdicts that are all 0 or 1, and
    where all values are alike 0 or 1, `wilson` itself.

    values: one mean a question, 0 to 1. Raises ValueError for none, or for any beyond that.
    """
    return limits(checked(values))


def estimate(values: Sequence[float]) -> Estimate:
    """Mean of verdicts in 0 to 1, one (or the mean of its draws) a question; see `clustered`.

    stderr: sqrt(m (1 - m) / n) where all are 0 or 1, else the standard deviation over sqrt(n),
    which is the clustered standard error of Miller 2024, arXiv:2411.00640, section 2.2, times
    sqrt(n / (n - 1)). Raises ValueError for no values, or for any beyond 0 to 1.
    """
    x = checked(values)
    n, mean = len(x), math.fsum(values) / len(x)
    if binary(x):
        stderr = math.sqrt(mean * (1 - mean) / n)
    else:
        stderr = float(np.std(x, ddof=1)) / math.sqrt(n) if n > 1 else math.nan
    return Estimate(mean, stderr, limits(x))


def limits(x: Values) -> Interval:
    """`clustered` of values that are checked."""
    mean = float(x.mean())
    return _score_interval(mean, len(x) / _spread_share(x, mean))


def checked(values: Sequence[float]) -> Values:
    """The values as an array. Raises ValueError for none, or for any beyond 0 to 1."""
    x = np.asarray(values, dtype=np.float64)
    if len(x) == 0:
        raise ValueError("no questions, no interval")
    if not bool(np.all((x >= 0) & (x <= 1))):
        raise ValueError("a verdict lies beyond 0 to 1; `mean_estimate` takes any number")
    return x


def binary(x: Values) -> bool:
    """Whether all are 0 or 1."""
    return bool(np.all((x == 0) | (x == 1)))


def _spread_share(x: Values, mean: float) -> float:
    if binary(x):
        return 1.0
    share = min(1.0, float(x.var()) / (mean * (1 - mean)))
    # of questions that all models solve, or none does, any number says nothing about the spread
    telling = min(int(np.count_nonzero(x > 0)), int(np.count_nonzero(x < 1)))
    return (telling * share + CAUTION) / (telling + CAUTION)


def _score_interval(share: float, n: float) -> Interval:
    z2 = Z95**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    # at 0 and 1 the formula gives that limit exactly, its rounding may not
    low = 0.0 if share == 0 else max(0.0, centre - half)
    return low, 1.0 if share == 1 else min(1.0, centre + half)
