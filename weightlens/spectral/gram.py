"""Products on the short side, where every subspace, spectrum and overlap comes from.

With m <= n the Gram matrix is W Wᵀ (m x m), else Wᵀ W (n x n). Its eigenvalues are the squared
singular values, its trace is ‖W‖². It is formed in float64: the eigenvalues of a float32 Gram
matrix carry an error of about eps * σ₁², which drowns every direction below σ₁ / 3000.

Matrices are widened to float64 a panel at a time, into one buffer that is used again: fresh memory
costs more than the arithmetic.
"""

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from weightlens.spectral.eigen import eigenvalues, mirror

_PANEL, _ENTRIES = 1024, 3 << 19
"""Columns that are widened at a time, and entries: 12 MB, unless those columns were few."""

_AS_IT_IS = 3072
"""Columns of a panel that needs no widening."""

_LEAF = 96
"""Rows from which a triangle is cut no further."""

_SMALLEST = 1e-12
"""Largest entry below which, and over whose inverse, float32 products are not to be trusted."""


def wide(matrix: Float[Tensor, "m n"]) -> Float[Tensor, "d e"]:
    """The matrix, or its transpose where it is tall: d = min(m, n) rows."""
    return matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T


def short_gram(
    matrix: Float[Tensor, "m n"], *, dtype: torch.dtype = torch.float64
) -> Float[Tensor, "d d"]:
    """W Wᵀ or Wᵀ W, whichever is smaller (d = min(m, n)), in float64 unless told otherwise."""
    short = wide(matrix)
    gram = short.new_zeros(short.shape[0], short.shape[0], dtype=dtype)
    for panel in panels(short, dtype=dtype, width=_AS_IT_IS if dtype == short.dtype else None):
        add_triangle(gram, panel)
    mirror(gram)  # a product is no mirror image to the last bit
    return gram


def add_triangle(
    symmetric: Float[Tensor, "d d"], panel: Float[Tensor, "d p"], *, alpha: int = 1
) -> None:
    """Adds α P Pᵀ on and below the diagonal; by halves, so that most of it is large products."""
    half = len(symmetric) // 2
    if half < _LEAF:
        symmetric.addmm_(panel, panel.T, alpha=alpha)
        return
    add_triangle(symmetric[:half, :half], panel[:half], alpha=alpha)
    add_triangle(symmetric[half:, half:], panel[half:], alpha=alpha)
    symmetric[half:, :half].addmm_(panel[half:], panel[:half].T, alpha=alpha)


def cross_product(
    left: Float[Tensor, "a e"], right: Float[Tensor, "b e"], *, dtype: torch.dtype = torch.float64
) -> Float[Tensor, "a b"]:
    """left rightᵀ (a x b), in float64 unless told otherwise."""
    product = left.new_zeros(left.shape[0], right.shape[0], dtype=dtype)
    width = panel_width(max(len(left), len(right)))
    both = (panels(side, dtype=dtype, width=width) for side in (left, right))
    for a, b in zip(*both, strict=True):
        product.addmm_(a, b.T)
    return product


def long_product(
    short: Float[Tensor, "d e"], vectors: Float[Tensor, "d k"]
) -> Float[Tensor, "e k"]:
    """Wᵀ X for a wide W (d x e), in float64."""
    product = vectors.new_empty(short.shape[1], vectors.shape[1], dtype=torch.float64)
    start = 0
    for panel in panels(short):
        torch.mm(panel.T, vectors, out=product[start : start + panel.shape[1]])
        start += panel.shape[1]
    return product


def panels(
    matrix: Float[Tensor, "d e"], *, dtype: torch.dtype = torch.float64, width: int | None = None
) -> Iterator[Float[Tensor, "d p"]]:
    """The columns of a matrix, some at a time, in the dtype given; each is gone at the next."""
    d, e = matrix.shape
    width = width or panel_width(d)
    slices = (matrix[:, start : start + width] for start in range(0, e, width))
    if matrix.dtype == dtype:
        yield from slices
        return
    by_rows = matrix.stride(0) >= matrix.stride(1)
    size = min(width, e)
    buffer = matrix.new_empty((d, size) if by_rows else (size, d), dtype=dtype)
    for panel in slices:
        count = panel.shape[1]
        target = buffer[:, :count] if by_rows else buffer[:count].T
        yield target.copy_(panel)


def panel_width(rows: int) -> int:
    """Columns of a panel: 1024, fewer where there are many rows, and at least 256."""
    return min(_PANEL, max(_ENTRIES // max(rows, 1), _PANEL // 4))


def float32_holds_products(matrix: Float[Tensor, "m n"]) -> bool:
    """Whether squares and products of entries of its size stay well inside float32."""
    if matrix.numel() == 0:
        return False
    low, high = torch.aminmax(matrix)
    return _SMALLEST < max(-float(low), float(high)) < 1 / _SMALLEST


def singular_values(matrix: Float[Tensor, "m n"]) -> Float[Tensor, "d"]:
    """All min(m, n) singular values, descending, in float64.

    Those below about 1e-7 σ₁ are rounding and not to be read as numbers.
    """
    return gram_singular_values(short_gram(matrix))


def gram_singular_values(gram: Float[Tensor, "d d"]) -> Float[Tensor, "d"]:
    """The singular values, descending, of the matrix that a Gram matrix belongs to."""
    return eigenvalues(gram).clamp(min=0).sqrt()
