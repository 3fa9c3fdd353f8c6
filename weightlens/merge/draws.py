"""Random draws by position: the same for every block size, thread and order of work.

A counter-based generator (Philox, Salmon et al. 2011, "Parallel random numbers: as easy as
1, 2, 3") is keyed by seed, tensor and source; the position of an entry is its counter.
"""

import numpy as np
import numpy.typing as npt
import xxhash

from weightlens.merge.streaming import Key

_PER_COUNT = 8
"""Draws of 32 bits that one count of the generator gives."""

Draws = npt.NDArray[np.uint32]


def draws(key: Key, source: int, start: int, count: int) -> Draws:
    """For the entries start … start + count of a source: whole numbers from 0 to 2³² − 1, all
    equally likely."""
    first = start // _PER_COUNT
    generator = np.random.Philox(key=_generator_key(key, source), counter=first)
    skipped = start - first * _PER_COUNT
    raw = generator.random_raw((skipped + count + 1) // 2).view(np.uint32)
    return raw[skipped : skipped + count]


def limits(probabilities: float | npt.NDArray[np.float64]) -> Draws:
    """A draw is below the limit with the probability, 0 to below 1, to within 2⁻³²."""
    return np.asarray(np.floor(np.multiply(probabilities, 2.0**32))).astype(np.uint32)


def _generator_key(key: Key, source: int) -> int:
    return xxhash.xxh3_128_intdigest(f"{key.seed}\0{source}\0{key.tensor}".encode())
