"""The Gram matrix of the short side, where every subspace and spectrum comes from.

With m <= n it is W Wᵀ (m x m), else Wᵀ W (n x n). Its eigenvalues are the squared singular values,
its trace is ‖W‖². It is formed in float64: the eigenvalues of a float32 Gram matrix carry an error
of about eps * σ₁², which drowns every direction below σ₁ / 3000.
"""

import torch
from jaxtyping import Float
from torch import Tensor


def short_gram(matrix: Float[Tensor, "m n"]) -> Float[Tensor, "d d"]:
    """W Wᵀ or Wᵀ W, whichever is smaller (d = min(m, n)), in float64."""
    wide = matrix.double()
    return wide @ wide.T if wide.shape[0] <= wide.shape[1] else wide.T @ wide


def singular_values(matrix: Float[Tensor, "m n"]) -> Float[Tensor, "d"]:
    """All min(m, n) singular values, descending, in float64.

    Those below about 1e-7 σ₁ are rounding and not to be read as numbers.
    """
    eigenvalues = torch.linalg.eigvalsh(short_gram(matrix))
    return eigenvalues.clamp(min=0).sqrt().flip(0)
