"""Sign conflict of two deltas: how often they push an entry of the base in opposite directions.

    share      |{ij : a_ij b_ij < 0}| / |{ij : a_ij b_ij ≠ 0}|
    weighted   Σ_{a_ij b_ij < 0} |a_ij b_ij| / Σ |a_ij b_ij|

between 0 and 1, and 1/2 for unrelated deltas with signs drawn at random. Entries where either delta
is zero are in no conflict and do not count. The weighted form settles the cosine's sign:
⟨A, B⟩ = (1 − 2 weighted) Σ |a_ij b_ij|. Interference of signs motivates TIES: Yadav et al. 2023,
arXiv:2306.01708, section 3.

A sign belongs to an entry, so factors must be multiplied out here: in float64, by blocks of rows.
"""

import math
from dataclasses import dataclass

from weightlens.delta import Delta
from weightlens.overlap.cosine import paired_rows


@dataclass(frozen=True)
class SignConflict:
    """Conflict of two deltas.

    shared: number of entries where both are non-zero, at least 1. share: of those, the share whose
    signs differ, 0 to 1. weighted: the same with each entry weighted by |a b|.
    """

    shared: int
    share: float
    weighted: float


def sign_conflict(first: Delta, second: Delta) -> SignConflict | None:
    """The conflict; None where no entry is non-zero in both, as where a delta is zero.

    Entries of a factored delta carry the rounding of float64, so those that are zero only in exact
    arithmetic may count. Raises ValueError for deltas of different shapes, ZeroDivisionError where
    every |a b| underflows float64.
    """
    shared = opposed = 0
    weights, opposed_weights = [], []
    for a, b in paired_rows(first, second):
        # signs are multiplied, not entries: their product cannot underflow to zero
        agreement, weight = a.sign() * b.sign(), (a * b).abs()
        shared += int(agreement.count_nonzero())
        opposed += int((agreement < 0).sum())
        weights.append(float(weight.sum()))
        opposed_weights.append(float(weight[agreement < 0].sum()))
    if not shared:
        return None
    # rounding can carry the part past the whole where all entries are opposed
    weighted = min(1.0, math.fsum(opposed_weights) / math.fsum(weights))
    return SignConflict(shared, opposed / shared, weighted)
