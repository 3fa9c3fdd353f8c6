"""Intruder dimensions: leading singular vectors of a tuned matrix that the base does not have.

    u' is an intruder  ⟺  max_i |cos(u', u_i)| < threshold

for u' among the top `count` singular vectors of the tuned matrix and u_i all min(m, n) singular
vectors of the base on the same side. The paper reads the left
side, and finds intruders after LoRA where full fine-tuning leaves few; here both sides are read.

Shuttleworth et al. 2024, arXiv:2410.21228, algorithm 1.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from weightlens.spectral.basis import Factorisation, factorise
from weightlens.spectral.directions import directions
from weightlens.spectral.rank import SubspaceSize


@dataclass(frozen=True)
class SideIntruders:
    """One side's finding.

    cosines: for each of the tuned matrix's top vectors the largest |cosine| with a base vector, 0
    to 1, float64. indices: those below the threshold, ascending, from 0.
    """

    cosines: Float[Tensor, "count"]
    indices: tuple[int, ...]


@dataclass(frozen=True)
class Intruders:
    """left: among the left singular vectors (columns of U), right: among the right ones."""

    left: SideIntruders
    right: SideIntruders


def intruder_dimensions(
    base: Factorisation, tuned: Float[Tensor, "m n"], *, count: int = 10, threshold: float = 0.5
) -> Intruders:
    """Intruders among the top `count` singular vectors of the tuned matrix, on both sides.

    threshold: largest |cosine| of an intruder, exclusive, above 0 and at most 1. Where singular
    values are equal their vectors are one choice among many, and cosines read low. Raises
    ValueError for a count outside 1 … min(m, n) or a threshold outside its range.
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold must be above 0 and at most 1, not {threshold:g}")
    top = factorise(tuned).subspace(SubspaceSize("rank", count))
    found = directions(base)
    tall = tuned.shape[0] > tuned.shape[1]
    short, long = (top.v, top.u) if tall else (top.u, top.v)
    along_short = _side(found.along_short(short.double()), threshold)
    along_long = _side(found.along_long(long.double()), threshold)
    return Intruders(along_long, along_short) if tall else Intruders(along_short, along_long)


def _side(cosines: Float[Tensor, "d count"], threshold: float) -> SideIntruders:
    # rounding can carry the cosine of a vector with itself past 1
    largest = cosines.abs().amax(0).clamp(max=1.0)
    below = torch.nonzero(largest < threshold).flatten().tolist()
    return SideIntruders(largest, tuple(below))
