"""The factorisation of a matrix: from the cache, or computed on the path that costs least."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from weightlens.factors.cache import FactorCache, key_of
from weightlens.spectral.basis import Factorisation, factorise
from weightlens.spectral.partial import ANGLE_BOUND, factorise_leading, worthwhile
from weightlens.spectral.rank import SubspaceSize

SMALLEST_KEPT = 256
"""Below this short side, computing is faster than reading a file."""


@dataclass(frozen=True)
class Factorised:
    """A factorisation, and whether it was found in the cache."""

    factorisation: Factorisation
    cached: bool


def factorised(
    matrix: Float[Tensor, "m n"],
    size: SubspaceSize,
    *,
    whole: bool = False,
    cache: FactorCache | None = None,
    device: torch.device | None = None,
) -> Factorised:
    """At least the vectors that the size asks for; all of them where `whole`.

    Vectors are rounded to float32 whether or not there is a cache: a warm run gives the bits of a
    cold one of the same request (where an earlier one asked for more, its vectors serve), as what
    another device, torch or number of threads has left is not found. Raises ValueError for a rank
    above min(m, n).
    """
    short = min(matrix.shape)
    rank = size.fixed_rank(short)
    partial = not whole and rank is not None and worthwhile(short, rank)
    wanted = rank if partial and rank is not None else short
    matrix = matrix.contiguous()  # products round by how their operands lie in memory
    key = key_of(matrix, device) if cache is not None and short >= SMALLEST_KEPT else None
    matrix = matrix if device is None else matrix.to(device)
    if cache is not None and key is not None:
        found = cache.get(key, matrix)
        if found is not None and _serves(found, wanted):
            return Factorised(found, cached=True)
    made = (factorise_leading(matrix, wanted) if partial else factorise(matrix)).rounded()
    if cache is not None and key is not None:
        cache.put(key, made)
    return Factorised(made, cached=False)


def _serves(found: Factorisation, wanted: int) -> bool:
    """Whether it knows the leading vectors; a certificate for more of them is none for fewer."""
    if found.complete:
        return True
    return len(found.sigma_squared) >= wanted and found.certificate(wanted)[1] < ANGLE_BOUND
