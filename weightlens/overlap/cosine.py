"""Cosine of two deltas of the same base matrix, read as vectors of their entries.

    cosine = ⟨A, B⟩ / (‖A‖ ‖B‖),        ⟨A, B⟩ = Σ_ij a_ij b_ij = tr(Aᵀ B)

(Frobenius), between -1 and 1; Ilharco et al. 2023, arXiv:2212.04089, read it between the
task vectors of whole models. Sums are taken in float64: two unrelated deltas of 10⁷ entries have a
cosine near 3e-4, the difference of sums that nearly cancel. Factors are not multiplied out: with
A = s B₁ A₁ and B = t B₂ A₂ it is ⟨A, B⟩ = s t ⟨B₁ᵀ B₂, A₁ A₂ᵀ⟩, a product of r x r matrices.
"""

import math
from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from weightlens.delta import Delta, Dense, Factored
from weightlens.overlap.subspace import squared_norm

BLOCK_ENTRIES = 2**20
"""Entries of one block of rows: 8 MiB in float64."""


def cosine(first: Delta, second: Delta) -> float | None:
    """The cosine, between -1 and 1; None where a delta is zero (`norm`) and has no direction.

    Raises ValueError for deltas of different shapes.
    """
    product, scale = inner(first, second), norm(first) * norm(second)
    # rounding can carry parallel deltas past 1
    return min(1.0, max(-1.0, product / scale)) if scale else None


def inner(first: Delta, second: Delta) -> float:
    """⟨A, B⟩, summed in float64, from the factors where there are any.

    Raises ValueError for deltas of different shapes.
    """
    common_shape(first.shape, second.shape)
    if isinstance(first, Factored):
        if isinstance(second, Factored):
            return _factored_inner(first, second)
        return _mixed_inner(second, first)
    if isinstance(second, Factored):
        return _mixed_inner(first, second)
    return math.fsum(float((a * b).sum()) for a, b in paired_rows(first, second))


def norm(delta: Delta) -> float:
    """‖·‖ in Frobenius norm, in float64; of a factored delta from the cores of its factors' QR.

    Exactly 0 where the factors cancel to within rounding, which `Factored.is_zero` cannot see.
    """
    if isinstance(delta, Dense):
        return math.sqrt(squared_norm(delta.matrix))
    b, a = delta.b.double(), delta.a.double()
    core = torch.linalg.qr(b, mode="r").R @ torch.linalg.qr(a.T, mode="r").R.T
    found = math.sqrt(squared_norm(core))
    rounding = torch.finfo(torch.float64).eps * max(delta.shape)
    certain = found > rounding * math.sqrt(squared_norm(b) * squared_norm(a))
    return abs(delta.scale) * found if certain else 0.0


def common_shape(*shapes: tuple[int, int]) -> tuple[int, int]:
    """The one shape (m, n) of several deltas. Raises ValueError for none, or where they differ."""
    if len(set(shapes)) != 1:
        told = ", ".join(f"{m} x {n}" for m, n in shapes) or "none"
        raise ValueError(f"deltas to compare have one shape, that of their base matrix; got {told}")
    return shapes[0]


def paired_rows(
    first: Delta, second: Delta
) -> Iterator[tuple[Float[Tensor, "rows n"], Float[Tensor, "rows n"]]]:
    """The entries of both deltas in float64, by blocks of rows of at most BLOCK_ENTRIES (or one).

    Raises ValueError for deltas of different shapes.
    """
    m, n = common_shape(first.shape, second.shape)
    step = max(1, BLOCK_ENTRIES // max(1, n))
    for start in range(0, m, step):
        rows = slice(start, start + step)
        yield _rows(first, rows), _rows(second, rows)


def _rows(delta: Delta, rows: slice) -> Float[Tensor, "rows n"]:
    if isinstance(delta, Dense):
        return delta.matrix[rows].double()
    return (delta.b[rows].double() * delta.scale) @ delta.a.double()


def _factored_inner(first: Factored, second: Factored) -> float:
    left = first.b.double().T @ second.b.double()
    right = first.a.double() @ second.a.double().T
    return first.scale * second.scale * float((left * right).sum())


def _mixed_inner(dense: Dense, factored: Factored) -> float:
    # ⟨D, B A⟩ = ⟨Bᵀ D, A⟩: r x n instead of a second m x n
    reduced = factored.b.double().T @ dense.matrix.double()
    return factored.scale * float((reduced * factored.a.double()).sum())
