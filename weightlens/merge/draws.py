"""Random draws by position: the same for every block size, thread and order of work.

A counter-based generator (Philox, Salmon et al. 2011, "Parallel random numbers: as easy as
1, 2, 3") is keyed by seed, tensor and source; the position of an entry is its counter. A draw has
32 bits, but what takes time is drawing them: the first 16 come alone, and the last 16 only where
the first do not decide.
"""

import numpy as np
import numpy.typing as npt
import xxhash

from weightlens.merge.streaming import Key

_PER_COUNT, _PER_RAW = 16, 4
"""Pieces of 16 bits that one count of the generator gives, and one number that it returns."""
_LAST_BITS = 1 << 128
"""The count of the first entry's last bits: far from those of all first bits."""

Limits = npt.NDArray[np.uint32]


def below(key: Key, source: int, start: int, count: int, limits: Limits) -> npt.NDArray[np.bool_]:
    """For the entries start … start + count of a source: whether a whole number from 0 to 2³² − 1,
    all equally likely, is below the limit. limits: one for each entry, or one for all."""
    first = first_bits(key, source, start, count)
    upper = (limits >> np.uint32(16)).astype(np.uint16)
    found = first < upper
    for place in np.flatnonzero(first == upper).tolist():
        limit = int(limits[place] if limits.ndim else limits)
        found[place] = last_bits(key, source, start + place) < limit & 0xFFFF
    return found


def first_bits(key: Key, source: int, start: int, count: int) -> npt.NDArray[np.uint16]:
    """Of the draws of the entries start … start + count: the first 16 bits."""
    first = start // _PER_COUNT
    generator = np.random.Philox(key=_generator_key(key, source), counter=first)
    skipped = start - first * _PER_COUNT
    raw = generator.random_raw(-(-(skipped + count) // _PER_RAW)).view(np.uint16)
    return raw[skipped : skipped + count]


def last_bits(key: Key, source: int, position: int) -> int:
    """Of the draw of one entry: the last 16 bits."""
    counter = _LAST_BITS + position
    generator = np.random.Philox(key=_generator_key(key, source), counter=counter)
    return int(generator.random_raw()) & 0xFFFF


def limits(probabilities: float | npt.NDArray[np.float64]) -> Limits:
    """A draw is below the limit with the probability, 0 to below 1, to within 2⁻³²."""
    return np.asarray(np.floor(np.multiply(probabilities, 2.0**32))).astype(np.uint32)


def _generator_key(key: Key, source: int) -> int:
    return xxhash.xxh3_128_intdigest(f"{key.seed}\0{source}\0{key.tensor}".encode())
