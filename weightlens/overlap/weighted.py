"""Overlap weighted by the base's whole spectrum: no rank to choose.

    column   ‖Wᵀ Δ‖² / (‖W‖² ‖Δ‖²)      by chance 1/m
    row      ‖Δ Wᵀ‖² / (‖W‖² ‖Δ‖²)      by chance 1/n

(Frobenius). With W = U Σ Vᵀ the column form is Σ σ_i² ‖u_iᵀ Δ‖² / (‖W‖² ‖Δ‖²): the mean share of Δ
along the base's left singular vectors, each weighted by its energy.
"""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from weightlens.delta import Compact, Measurable
from weightlens.overlap.subspace import squared_norm
from weightlens.spectral.gram import cross_product, short_gram


@dataclass(frozen=True)
class WeightedOverlap:
    """Both forms, between 0 and 1."""

    column: float
    row: float


def weighted_overlap(base: Float[Tensor, "m n"], delta: Measurable) -> WeightedOverlap:
    """Both forms, without a product larger than the short side squared.

    Raises ZeroDivisionError where the base or the delta is all zeros.
    """
    if isinstance(delta, Compact):
        wide = base.double()
        total = squared_norm(base) * squared_norm(delta.sigma)
        return WeightedOverlap(
            column=squared_norm((wide.T @ delta.left) * delta.sigma) / total,
            row=squared_norm((wide @ delta.right) * delta.sigma) / total,
        )
    total = squared_norm(base) * squared_norm(delta.matrix)
    return WeightedOverlap(
        column=product_norm(base.T, delta.matrix) / total,
        row=product_norm(base, delta.matrix.T) / total,
    )


def product_norm(left: Float[Tensor, "a b"], right: Float[Tensor, "b c"]) -> float:
    """‖left right‖², by way of the Gram matrices of the inner side where that is cheaper.

    ‖XY‖² = ⟨XᵀX, YYᵀ⟩: with b the inner dimension, two b x b matrices instead of one a x c.
    """
    inner, outer = left.shape[1], min(left.shape[0], right.shape[1])
    if inner < outer:
        return float((short_gram(left) * short_gram(right)).sum())
    return squared_norm(cross_product(left, right.T))
