"""The Gram matrix of the short side, where every subspace and spectrum comes from.

With m <= n it is W Wᵀ (m x m), else Wᵀ W (n x n). Its eigenvalues are the squared singular values,
its trace is ‖W‖². It is formed in float64: the eigenvalues of a float32 Gram matrix carry an error
of about eps * σ₁², which drowns every direction below σ₁ / 3000.
"""

import torch
from jaxtyping import Float
from torch import Tensor

_PANEL = 2048
"""Columns that are widened to float64 at a time: the matrix is never copied whole."""

_STRIPS = 4
"""Row strips of the lower triangle that are computed; the rest of it is their mirror image."""


def short_gram(matrix: Float[Tensor, "m n"]) -> Float[Tensor, "d d"]:
    """W Wᵀ or Wᵀ W, whichever is smaller (d = min(m, n)), in float64."""
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    d = wide.shape[0]
    gram = wide.new_zeros(d, d, dtype=torch.float64)
    rows = -(-d // _STRIPS)
    for start in range(0, wide.shape[1], _PANEL):
        panel = wide[:, start : start + _PANEL].double()
        for top in range(0, d, rows):
            bottom = min(top + rows, d)
            gram[top:bottom, :bottom].addmm_(panel[top:bottom], panel[:bottom].T)
    return gram.tril() + gram.tril(-1).T


def singular_values(matrix: Float[Tensor, "m n"]) -> Float[Tensor, "d"]:
    """All min(m, n) singular values, descending, in float64.

    Those below about 1e-7 σ₁ are rounding and not to be read as numbers.
    """
    eigenvalues = torch.linalg.eigvalsh(short_gram(matrix))
    return eigenvalues.clamp(min=0).sqrt().flip(0)
