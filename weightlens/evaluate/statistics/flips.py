"""The sign-flip test: were the two models exchanged question by question, how often would the
difference be as large as it is?

Fisher 1935, The Design of Experiments, section 21; for verdicts of 0 and 1 it is McNemar's exact
test. Means of k draws differ by multiples of 1/k, so all 2^n exchanges can be counted, by
convolving the few sizes of difference there are. Of other numbers all exchanges are tried where
there are fewer than 10,000, else 10,000 at random, the seed fixed.
"""

import sys
from collections.abc import Iterator

import numpy as np
from jaxtyping import Int

from weightlens.evaluate.statistics.shares import Values

EXCHANGES = 10_000
FINEST = 128
"""Largest common denominator of differences that are counted exactly."""


def sign_flip_p(gaps: Values) -> float:
    """Two-sided p of the differences' mean being 0, in (0, 1]; 1 where all are 0."""
    gaps = gaps[gaps != 0]
    if len(gaps) == 0:
        return 1.0
    unit = _denominator(gaps)
    p = _sampled(gaps) if unit is None else _counted(np.rint(gaps * unit).astype(np.int64))
    # beyond a thousand flips the smallest p underflows
    return min(1.0, max(p, sys.float_info.min))


def _denominator(gaps: Values) -> int | None:
    for unit in range(1, FINEST + 1):
        scaled = gaps * unit
        if float(np.max(np.abs(scaled - np.rint(scaled)))) < 1e-9 * unit:
            return unit
    return None


def _counted(steps: np.ndarray) -> float:
    total, observed = int(np.abs(steps).sum()), abs(int(steps.sum()))
    chances = np.ones(1)  # of the sum of those that keep a positive sign
    for size, count in zip(*np.unique(np.abs(steps), return_counts=True), strict=True):
        grown = np.zeros(len(chances) + int(size) * int(count))
        for kept, chance in enumerate(_heads(int(count))):
            grown[kept * size : kept * size + len(chances)] += chance * chances
        chances = grown
    signed = 2 * np.arange(total + 1) - total
    return float(chances[np.abs(signed) >= observed].sum())


def _heads(count: int) -> Iterator[float]:
    """Chances of 0 to `count` heads in as many throws of a coin, from whole numbers: nothing
    overflows."""
    ways = 1
    for heads in range(count + 1):
        yield ways / 2**count
        ways = ways * (count - heads) // (heads + 1)


def _sampled(gaps: Values) -> float:
    generator = np.random.Generator(np.random.Philox(1))
    if 2 ** len(gaps) < EXCHANGES:
        patterns = np.arange(2 ** len(gaps))[:, None] >> np.arange(len(gaps)) & 1
        return float(np.mean(_as_large(patterns, gaps)))
    rows, as_large = max(1, 10_000_000 // len(gaps)), 0
    for done in range(0, EXCHANGES, rows):
        shape = min(rows, EXCHANGES - done), len(gaps)
        kept = generator.integers(2, size=shape, dtype=np.int8)
        as_large += int(np.count_nonzero(_as_large(kept, gaps)))
    return (1 + as_large) / (1 + EXCHANGES)


def _as_large(kept: Int[np.ndarray, "exchanges questions"], gaps: Values) -> np.ndarray:
    """Which exchanges leave a sum as large as that seen; those equal up to rounding are."""
    sums = 2 * (kept.astype(np.float64) @ gaps) - gaps.sum()
    return np.abs(sums) >= abs(float(gaps.sum())) * (1 - 1e-9)
