"""How much arithmetic an analysis is, for a bar that knows how long it takes.

Counts are the usual ones (Golub & Van Loan, Matrix Computations, 4th ed., sections 1.1 and 8.3):
2 a b c for a product, half of it where the result is symmetric, 9 d³ for all eigenvectors of a
symmetric matrix and 4/3 d³ for its eigenvalues alone. What is found in a cache counts all the same.
"""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """How far a long work is.

    done, total: tensors. name: of the one in hand. flop, total_flop: floating-point operations.
    bytes: read so far.
    """

    done: int
    total: int
    name: str
    flop: float = 0.0
    total_flop: float = 0.0
    bytes: int = 0


Progress = Callable[[Step], None]
"""Told about every step before it, and once at the end."""


def silent(step: Step) -> None:
    """Tells nobody."""


def factorisation_flop(m: int, n: int) -> float:
    """Gram matrix and its eigenvectors."""
    d, e = min(m, n), max(m, n)
    return d * d * e + 9.0 * d**3


def dense_flop(m: int, n: int) -> float:
    """Gram matrix and spectrum of a dense delta, its product with the base, every overlap."""
    d, e = min(m, n), max(m, n)
    return 3.0 * d * d * e + (4 / 3 + 6) * d**3


def factored_flop(m: int, n: int, r: int) -> float:
    """The same for B A with r columns."""
    d, e = min(m, n), max(m, n)
    return 2.0 * d * e * r + 4.0 * d * d * r + 6.0 * (m + n) * r * r
