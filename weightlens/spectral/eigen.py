"""Eigenpairs of symmetric matrices in float64, in as little memory as there is a way to.

`torch.linalg.eigh` copies the matrix and takes two more of its size to work in. On CPUs large ones
go to LAPACK's `dsyevr` (relatively robust representations, Dhillon & Parlett 2004) by way of SciPy:
in the matrix's own memory, of which it leaves one triangle as it was, so that the matrix can be
put together again. It takes 10 to 20 % less time too; small ones would lose that to the change
from one library's threads to the other's.
"""

import ctypes
import os
from collections.abc import Callable
from functools import cache
from typing import Any

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
    d = len(symmetric)
    usable = symmetric.dtype == torch.float64 and symmetric.is_contiguous()
    if not usable or symmetric.device.type != "cpu" or d < IN_PLACE_FROM:
        return None
    dsyevr = _dsyevr()
    if dsyevr is None:
        return None
    values, found = symmetric.new_empty(d), symmetric.new_empty(d, d) if vectors else None
    support, integers = (torch.empty(size * d, dtype=torch.int32) for size in (2, 10))
    work = symmetric.new_empty(72 * d)
    no, nothing, count, failed = (ctypes.c_int() for _ in range(4))
    order, long, short = (ctypes.c_int(len(x)) for x in (symmetric, work, integers))
    # times −1: the order is ascending, and becomes descending
    diagonal = symmetric.neg_().diagonal().clone()
    # Fortran reads rows as columns: its lower triangle is what lies above the diagonal here
    dsyevr(
        ctypes.c_char(b"V" if vectors else b"N"), ctypes.c_char(b"A"), ctypes.c_char(b"L"),
        order, symmetric, order, ctypes.c_double(), ctypes.c_double(), no, nothing,
        ctypes.c_double(), count, values, values if found is None else found, order, support,
        work, long, integers, short, failed,
    )  # fmt: skip
    symmetric.diagonal().copy_(diagonal)
    mirror(symmetric)
    symmetric.neg_()
    if failed.value or count.value < d:
        return None
    return values.neg_().add_(0.0), symmetric.new_empty(0, 0) if found is None else found.T


@cache
def _dsyevr() -> Callable[..., None] | None:
    """LAPACK's routine, which takes tensors, and numbers of ctypes; None where SciPy was built with
    integers of another size.

    By its address, which SciPy publishes for Cython: its own wrapper keeps Python's lock, and no
    bar would move, and no other thread read or write, for as long as it takes.
    """
    # its threads would stay awake for 20 ms and more, and keep torch's waiting: now for 0.3
    os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "20")
    from scipy.linalg import cython_lapack  # a fifth of a second, and small matrices need none

    capsule = cython_lapack.__pyx_capi__["dsyevr"]
    named, pointed = ctypes.pythonapi.PyCapsule_GetName, ctypes.pythonapi.PyCapsule_GetPointer
    named.restype, named.argtypes = ctypes.c_char_p, [ctypes.py_object]
    pointed.restype, pointed.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    signature = named(capsule)
    if not signature.startswith(b"void (char *, char *, char *, int *,"):
        return None
    routine = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 21)(pointed(capsule, signature))

    def call(*arguments: Any) -> None:
        routine(*(a.data_ptr() if isinstance(a, Tensor) else ctypes.byref(a) for a in arguments))

    return call
