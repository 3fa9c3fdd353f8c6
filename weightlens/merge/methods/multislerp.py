"""Multi-SLERP: the weighted mean of any number of points on a sphere, by one step from their chord.

    u_i = x_i / ‖x_i‖,  m = Σ w_i u_i / ‖Σ w_i u_i‖      the point where the tangent space touches
    v   = Σ w_i (u_i − ⟨u_i, m⟩ m)                        the mean in the tangent space
    x   = (Σ w_i ‖x_i‖) · (m cos‖v‖ + v sin‖v‖ / ‖v‖)

x_i: weights or, with a base, deltas; each tensor is one vector. Where all are 0, so is x. Goddard
2025, "Multi-SLERP", goddard.blog; mergekit 0.1.5.
"""

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor

from weightlens.merge.method import OnEither, Weight, normalised
from weightlens.merge.spanned import Spanned


class MultiSlerp(OnEither, Spanned):
    """weight: of each source; normalize_weights: make them sum to 1; eps: lengths below are 0."""

    method: Literal["multislerp"] = "multislerp"
    passes: ClassVar[str] = "two-pass"
    weight: Weight
    normalize_weights: bool = True
    eps: float = Field(default=1e-8, gt=0)

    @model_validator(mode="after")
    def _weights_have_a_sum(self) -> "MultiSlerp":
        if self.normalize_weights:
            normalised(self.weight)
        return self

    def coefficients(self, products: Float[Tensor, "sources sources"]) -> Sequence[float]:
        """The point on the sphere, in terms of the sources."""
        given = normalised(self.weight) if self.normalize_weights else self.weight
        weights = torch.tensor(given, dtype=torch.float64)
        norms = products.diagonal().sqrt()
        if not bool(norms.any()):
            return given
        unit = 1 / (norms + self.eps)
        mean = weights * unit
        length = float((mean @ products @ mean).clamp(min=0).sqrt())
        if length < self.eps:
            if len(given) == 2:
                return given
            raise ValueError("multislerp: the weighted directions cancel; change the weights")
        mean = mean / length
        dots = unit * (products @ mean)
        tangent = weights * unit - (weights * dots).sum() * mean
        angle = (tangent @ products @ tangent).clamp(min=0).sqrt() + self.eps
        point = mean * torch.cos(angle) + tangent * (torch.sin(angle) / angle)
        return (point * (norms * weights).sum()).tolist()
