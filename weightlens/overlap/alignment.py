"""Subspace alignment ratio: how much of one delta lies in the column space that another one uses.

    SAR(A, B) = ‖Π_{k,B} A‖ / ‖A‖,            Π_{k,B} = U_k U_kᵀ
    k         = the smallest with ‖B − Π_{k,B} B‖ ≤ ε ‖B‖,      ε = 0.05

(Frobenius), with U_k the top-k left singular vectors of B. Marczak et al. 2025, arXiv:2502.04959,
equations 5 and 6, where A is a task's delta and B the merged one or another task's.

SAR lies between 0 and 1. It is not symmetric: it asks whether B's space holds A, and not the other
way round. It does not see the size of either delta. ε bounds the norm of what is left out, so U_k
keeps 1 − ε² = 99.75 % of B's energy, not 95 %. It is a ratio of norms: its square is the column
overlap of A with B's space, and the mean of that square for an A turned at random is k/m; read SAR
against √(k/m), which is near 1 where B is of full rank.
"""

import math
from dataclasses import dataclass

from weightlens.delta import Compact, Delta, measurable
from weightlens.overlap.cosine import common_shape, norm
from weightlens.overlap.interference import task_singular_vectors
from weightlens.overlap.subspace import squared_norm
from weightlens.spectral.rank import SubspaceSize

TOLERANCE = 0.05
"""ε of the paper."""


@dataclass(frozen=True)
class Alignment:
    """ratio: SAR, 0 to 1. rank: k, the dimension of the space projected on."""

    ratio: float
    rank: int


def subspace_alignment(
    delta: Delta, reference: Delta, *, tolerance: float = TOLERANCE
) -> Alignment | None:
    """SAR(delta, reference); None where either is zero.

    Raises ValueError for deltas of different shapes and a tolerance outside [0, 1).
    """
    common_shape(delta.shape, reference.shape)
    size = tolerated(tolerance)
    if not norm(reference):
        return None
    return alignment_with(delta, task_singular_vectors(reference, size))


def alignment_with(delta: Delta, reference: Compact) -> Alignment | None:
    """SAR of a delta on the left singular vectors of a reference that is already cut to its top k.

    One reference serves many deltas. None where the delta is zero. Raises ValueError for deltas of
    different shapes.
    """
    common_shape(delta.shape, (reference.left.shape[0], reference.right.shape[0]))
    if not norm(delta):
        return None
    measured = measurable(delta)
    basis = reference.left.double()
    if isinstance(measured, Compact):
        part, total = (basis.T @ measured.left) * measured.sigma, squared_norm(measured.sigma)
    else:
        part, total = basis.T @ measured.matrix.double(), squared_norm(measured.matrix)
    # rounding can carry the part of a delta that lies wholly inside past the whole
    return Alignment(min(1.0, math.sqrt(squared_norm(part) / total)), basis.shape[1])


def tolerated(tolerance: float) -> SubspaceSize:
    """The size of a space that leaves out at most `tolerance`, 0 to below 1, of a delta's norm.

    Raises ValueError outside that range.
    """
    if not 0 <= tolerance < 1:
        raise ValueError(f"tolerance must be at least 0 and below 1, not {tolerance:g}")
    return SubspaceSize("energy", 1 - tolerance**2)
