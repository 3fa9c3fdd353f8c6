"""Principal angles between two subspaces, and two distances made of them.

With orthonormal bases P (d x p) and Q (d x q), p >= q, the angles θ_1 ≤ ... ≤ θ_q in [0, π/2] have

    cos θ_i = i-th largest singular value of Pᵀ Q
    sin θ_i = i-th smallest singular value of Q − P (Pᵀ Q)
    geodesic   √(Σ θ_i²)         chordal   √(Σ sin² θ_i)

The cosine loses half the digits of angles near 0, the sine those of angles near π/2 (Björck & Golub
1973, Math. Comp. 27; Knyazev & Argentati 2002, SIAM J. Sci. Comput. 23, algorithm 3.1). Both are
taken here, θ_i = atan2(sin θ_i, cos θ_i), which is good to a few eps of float64 everywhere.

Both distances are metrics between subspaces of the same dimension (geodesic: arc length on the
Grassmannian; chordal: ‖PPᵀ − QQᵀ‖_F / √2). For p > q they compare Q with the nearest part of P:
zero where one subspace holds the other, so no metric (Ye & Lim 2016,
SIAM J. Matrix Anal. Appl. 37).
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor


def principal_angles(
    first: Float[Tensor, "d p"], second: Float[Tensor, "d q"]
) -> Float[Tensor, "angles"]:
    """The min(p, q) angles in radians, ascending, float64, 0 to π/2.

    first, second: orthonormal columns, to the square root of float32's eps (of their dtype's, where
    that is coarser); what they lack of it is removed in float64. Raises ValueError for columns
    further off.
    """
    large, small = _orthonormal(first), _orthonormal(second)
    if large.shape[1] < small.shape[1]:
        large, small = small, large
    inner = large.T @ small
    cosines = torch.linalg.svdvals(inner)
    sines = torch.linalg.svdvals(small - large @ inner)
    return torch.atan2(sines.flip(0), cosines)


def geodesic_distance(angles: Float[Tensor, "angles"]) -> float:
    """√(Σ θ²): 0 to √k π/2 for k principal angles; 0 for none."""
    return math.sqrt(float(angles.double().square().sum()))


def chordal_distance(angles: Float[Tensor, "angles"]) -> float:
    """√(Σ sin² θ): 0 to √k for k principal angles; 0 for none."""
    return math.sqrt(float(angles.double().sin().square().sum()))


def chordal_chance(d: int, p: int, q: int) -> float:
    """√(E Σ sin² θ) = √(q (1 − p/d)), q ≤ p, for two subspaces of random orientation (Haar).

    Each unit vector of the smaller one has an expected share of p/d in the larger.
    """
    large, small = max(p, q), min(p, q)
    return math.sqrt(small * (1 - large / d))


def _orthonormal(basis: Float[Tensor, "d k"]) -> Float[Tensor, "d k"]:
    wide = basis.double()
    gram = wide.T @ wide
    off = float((gram - torch.eye(len(gram), dtype=gram.dtype, device=gram.device)).abs().sum())
    eps = max(torch.finfo(basis.dtype).eps, torch.finfo(torch.float32).eps)
    if not off <= len(gram) * math.sqrt(eps):  # not (off > ...): NaN is no basis either
        d, k = basis.shape
        raise ValueError(
            f"the {k} columns of a {d} x {k} basis are not orthonormal; take its Q factor"
        )
    # a basis stored in float32 is orthonormal to 1e-7 only, which would show as an angle
    return torch.linalg.qr(wide).Q
