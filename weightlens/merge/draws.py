"""Random draws by position: the same for every block size, thread and order of work.

A counter-based generator (Philox, Salmon et al. 2011, "Parallel random numbers: as easy as
1, 2, 3") is keyed by seed, tensor and source; the position of an entry is its counter.
"""

import numpy as np
import torch
import xxhash
from jaxtyping import Float
from torch import Tensor

from weightlens.merge.streaming import Key

_PER_COUNT = 8
"""Draws of 32 bits that one count of the generator gives."""


def uniform(key: Key, source: int, start: int, count: int) -> Float[Tensor, "count"]:
    """Draws for the entries start … start + count of a source: multiples of 2⁻²⁴ in [0, 1)."""
    first = start // _PER_COUNT
    generator = np.random.Philox(key=_generator_key(key, source), counter=first)
    skipped = start - first * _PER_COUNT
    raw = generator.random_raw((skipped + count + 1) // 2).view(np.uint32)
    bits = raw[skipped : skipped + count] >> np.uint32(8)
    return torch.from_numpy(bits.astype(np.float32) * np.float32(2**-24))


def _generator_key(key: Key, source: int) -> int:
    return xxhash.xxh3_128_intdigest(f"{key.seed}\0{source}\0{key.tensor}".encode())
