"""How alike the leading subspaces of two matrices are, for every pair of ranks at once.

    φ(i, j) = ‖U_A[:, :i]ᵀ U_B[:, :j]‖_F² / min(i, j)

with U_A, U_B the left (or both right) singular vectors of two deltas, in descending order. It lies
between 0 (orthogonal) and 1 (one subspace contains the other); two random subspaces of an
m-dimensional space read max(i, j) / m. It is the mean squared cosine of the principal angles.

Hu et al. 2021, arXiv:2106.09685, section 7.2 and appendix G.
"""

import torch
from jaxtyping import Float
from torch import Tensor


def subspace_similarity(
    first: Float[Tensor, "m p"], second: Float[Tensor, "m q"]
) -> Float[Tensor, "p q"]:
    """φ(i, j) at [i − 1, j − 1] for i = 1 … p, j = 1 … q, float64; columns orthonormal.

    One product and its squares cumulated along both sides, in O(m p q).
    """
    cosines = first.double().T @ second.double()
    shared = cosines.square().cumsum(0).cumsum(1)
    i, j = (torch.arange(1, c + 1, dtype=shared.dtype, device=shared.device) for c in shared.shape)
    # rounding can carry equal subspaces past 1
    return (shared / torch.minimum(i[:, None], j[None, :])).clamp(max=1.0)
