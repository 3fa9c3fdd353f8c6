"""Eigenpairs of symmetric matrices in float64, in as little memory as there is a way to.

`torch.linalg.eigh` copies the matrix and takes two more of its size to work in. On CPUs large ones
go to LAPACK's `dsyevr` (relatively robust representations, Dhillon & Parlett 2004) by way of SciPy:
in the matrix's own memory, of which it leaves one triangle as it was, so that the matrix can be
put together again. It takes 10 to 20 % less time too; small ones would lose that to the change
from one library's threads to the other's.
"""

import os

import torch
from jaxtyping import Float
from torch import Tensor

IN_PLACE_FROM = 1536
"""Rows from which SciPy's LAPACK takes over."""

_STRIP = 128


def eigenpairs(
    symmetric: Float[Tensor, "d d"],
) -> tuple[Float[Tensor, "d"], Float[Tensor, "d d"]]:
    """(eigenvalues, descending; eigenvectors, one a column). The matrix is as before afterwards."""
    found = _in_place(symmetric, vectors=True)
    if found is not None:
        return found
    values, vectors = torch.linalg.eigh(symmetric)
    return values.flip(0), vectors.flip(1)


def eigenvalues(symmetric: Float[Tensor, "d d"]) -> Float[Tensor, "d"]:
    """Descending. The matrix is as before afterwards."""
    found = _in_place(symmetric, vectors=False)
    return torch.linalg.eigvalsh(symmetric).flip(0) if found is None else found[0]


def mirror(symmetric: Float[Tensor, "d d"]) -> None:
    """Writes what is below the diagonal above it."""
    for top in range(0, len(symmetric), _STRIP):
        rows = slice(top, top + _STRIP)
        block = symmetric[rows, rows]
        block.copy_(block.tril() + block.tril(-1).T)
        symmetric[:top, rows] = symmetric[rows, :top].T


def _in_place(
    symmetric: Float[Tensor, "d d"], *, vectors: bool
) -> tuple[Float[Tensor, "d"], Float[Tensor, "rows columns"]] | None:
    """As `eigenpairs`, without vectors (0 x 0) where none are asked for; None where this way is not
    to be gone, or does not lead there."""
    usable = symmetric.dtype == torch.float64 and symmetric.is_contiguous()
    if not usable or symmetric.device.type != "cpu" or len(symmetric) < IN_PLACE_FROM:
        return None
    # its threads would stay awake for 20 ms and more, and keep torch's waiting: now for 0.3
    os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "20")
    from scipy.linalg.lapack import dsyevr  # a fifth of a second, and small matrices need none

    # times −1: the order is ascending, and becomes descending
    diagonal = symmetric.neg_().diagonal().clone()
    # Fortran reads rows as columns: its lower triangle is what lies above the diagonal here
    values, found, count, _, failed = dsyevr(
        symmetric.numpy().T, lower=1, overwrite_a=1, compute_v=vectors, lwork=66 * len(symmetric)
    )
    symmetric.diagonal().copy_(diagonal)
    mirror(symmetric)
    symmetric.neg_()
    if failed or count < len(symmetric):
        return None
    return 0.0 - torch.from_numpy(values), torch.from_numpy(found)
