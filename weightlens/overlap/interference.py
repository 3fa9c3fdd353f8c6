"""Singular task interference: how far the singular vectors of several deltas collide.

    STI = ‖(Uᵀ U − I) Σ (Vᵀ V − I)‖₁           (sum of the absolute values of all entries)

U = [U_1 ... U_N] (m x K) and V = [V_1 ... V_N] (n x K) hold the top-k left and right singular
vectors of each delta side by side, one a *column*, and Σ (K x K) their singular values on its
diagonal. Stacked one below the other instead, Uᵀ U is N I and nothing about interference remains.
Gargiulo et al. 2024 (Task Singular Vectors), arXiv:2412.00081, section 3.

For two deltas cut to their top k it is ‖U_1ᵀ Δ_2 V_1‖₁ + ‖U_2ᵀ Δ_1 V_2‖₁: what each puts where the
other reads and writes. It is zero for one delta, and for deltas whose column spaces and row spaces
are each mutually orthogonal; it grows in proportion when all deltas are scaled. It has the units of
a singular value and grows with k: compare only at equal k. Where singular values coincide, their
vectors and with them STI are not unique.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from weightlens.delta import Compact, Delta, Factored
from weightlens.overlap.cosine import common_shape
from weightlens.spectral.basis import factorise
from weightlens.spectral.rank import SubspaceSize


def task_singular_vectors(delta: Delta, size: SubspaceSize) -> Compact:
    """The top-k singular triplets of a delta, from its factors where it has any.

    float64 throughout; the vectors of a dense delta are those of `Subspace`, rounded to float32.
    k is the size asked for of all min(m, n) singular values, and no more than the factors' rank.
    Singular values of zero add nothing to STI. Raises ValueError for a rank above min(m, n).
    """
    if isinstance(delta, Factored):
        compact = delta.compact()
        sigma_squared = compact.sigma.new_zeros(min(delta.shape))
        sigma_squared[: len(compact.sigma)] = compact.sigma.square()
        k = min(size.rank(sigma_squared), len(compact.sigma))
        return Compact(compact.left[:, :k], compact.sigma[:k], compact.right[:, :k])
    factorisation = factorise(delta.matrix)
    top = factorisation.subspace(size)
    return Compact(top.u.double(), factorisation.sigma[: top.rank], top.v.double())


def interference(parts: Sequence[Compact]) -> float:
    """STI of all the deltas at once, at least 0. parts: their `task_singular_vectors`.

    Not the sum over pairs: a third delta that overlaps with two orthogonal ones couples them.
    Raises ValueError for no deltas or different shapes.
    """
    _check_shapes(parts)
    u = _excess_gram([part.left for part in parts])
    v = _excess_gram([part.right for part in parts])
    sigma = torch.cat([part.sigma for part in parts])
    return float(((u * sigma) @ v).abs().sum())


def _excess_gram(bases: list[Tensor]) -> Float[Tensor, "K K"]:
    """Uᵀ U − I for the bases side by side: their inner products across deltas."""
    stacked = torch.cat(bases, dim=1)
    gram = stacked.T @ stacked
    gram.diagonal().sub_(1)
    return gram


def _check_shapes(parts: Sequence[Compact]) -> None:
    common_shape(*((part.left.shape[0], part.right.shape[0]) for part in parts))
