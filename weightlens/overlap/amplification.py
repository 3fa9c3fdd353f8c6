"""LoRA's amplification factor: how much a delta amplifies directions that the base hardly uses.

    factor = ‖Δ‖_F / ‖U_rᵀ W V_r‖_F

with W the base, Δ the delta (both m x n) and U_r, V_r the top-r left and right singular vectors of
Δ, not of W. A delta along directions that W lacks has a large factor; Δ = W has the factor
‖W‖_F / ‖W_r‖_F, 1 for r at its rank. Large factors prove nothing by themselves: with U_r, V_r drawn
at random (Haar) E ‖U_rᵀ W V_r‖² = ‖W‖² r²/(mn), so that by chance

    factor ≈ ‖Δ‖ √(mn) / (‖W‖ r)

Hu et al. 2021, arXiv:2106.09685, section 7.3.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from weightlens.delta import Compact, Measurable
from weightlens.overlap.subspace import squared_norm
from weightlens.spectral.basis import factorise
from weightlens.spectral.rank import SubspaceSize


@dataclass(frozen=True)
class Amplification:
    """factor: above 0, inf where the base has nothing along the delta's directions.

    rank: how many directions were used: those asked for, or all that the delta has. chance: the
    factor of directions of random orientation; inf for a base of zeros.
    """

    factor: float
    rank: int
    chance: float


def amplification(base: Float[Tensor, "m n"], delta: Measurable, rank: int) -> Amplification:
    """The factor over the delta's top `rank` directions, or over all where it has fewer.

    Directions with σ ≤ eps max(m, n) σ₁ are rounding and do not count; eps is that of the delta's
    dtype, but at least 1.5e-8 for a dense delta, whose σ come from a Gram matrix. Raises ValueError
    for a rank below 1, ZeroDivisionError for a delta of zeros.
    """
    if rank < 1:
        raise ValueError(f"rank must be at least 1, not {rank}")
    if isinstance(delta, Compact):
        eps = torch.finfo(delta.sigma.dtype).eps
        kept = min(rank, _numerical_rank(delta.sigma, eps * max(base.shape)))
        left, right, norm = delta.left[:, :kept], delta.right[:, :kept], squared_norm(delta.sigma)
    else:
        found = factorise(delta.matrix)
        eps = max(torch.finfo(delta.matrix.dtype).eps, math.sqrt(torch.finfo(torch.float64).eps))
        kept = min(rank, _numerical_rank(found.sigma, eps * max(base.shape)))
        top = found.subspace(SubspaceSize("rank", kept))
        left, right, norm = top.u, top.v, squared_norm(delta.matrix)
    inner = squared_norm(left.double().T @ (base.double() @ right.double()))
    expected = squared_norm(base) * kept**2 / (base.shape[0] * base.shape[1])
    return Amplification(
        math.sqrt(norm / inner) if inner else math.inf,
        kept,
        math.sqrt(norm / expected) if expected else math.inf,
    )


def _numerical_rank(sigma: Float[Tensor, "k"], smallest_ratio: float) -> int:
    if not torch.any(sigma):
        raise ZeroDivisionError("a delta of zeros has no directions to amplify")
    return int((sigma > smallest_ratio * sigma.max()).sum())
