"""Karcher mean: the point on the sphere with the least squared distance to all sources.

    u_i = x_i / ‖x_i‖;  from m = Σ u_i / ‖Σ u_i‖, repeat
    v   = Σ α_i θ_i/sin θ_i (u_i − cos θ_i m)      cos θ_i = ⟨u_i, m⟩, α_i = 1/N
    m   = m cos‖v‖ + v sin‖v‖/‖v‖                  until ‖v‖ < tol or max_iter steps

and the result is m times the mean of the norms. Each tensor is one vector. Karcher 1977,
"Riemannian center of mass and mollifier smoothing"; arXiv:2603.04972 for model merging.
"""

import math
from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from weightlens.merge.method import BaseUse, OnWeights
from weightlens.merge.spanned import Spanned


class Karcher(OnWeights, Spanned):
    """max_iter: most steps; tol: length of a step, and of a tensor, that counts as 0."""

    method: Literal["karcher"] = "karcher"
    base: ClassVar[BaseUse] = "ignored"
    passes: ClassVar[str] = "two-pass"
    max_iter: int = Field(default=10, ge=0)
    tol: float = Field(default=1e-5, gt=0)

    def coefficients(self, products: Float[Tensor, "sources sources"]) -> Sequence[float]:
        """The mean, in terms of the sources."""
        norms = products.diagonal().sqrt()
        used = norms > self.tol
        if not bool(used.any()):
            return [0.0] * len(norms)
        unit = torch.where(used, 1 / norms.clamp(min=self.tol), torch.zeros_like(norms))
        share = 1 / int(used.sum())
        mean = share * unit
        length = _length(mean, products)
        if length < self.tol:
            mean = torch.zeros_like(unit)
            first = int(used.nonzero()[0])
            mean[first] = unit[first]
        else:
            mean = mean / length
        for _ in range(self.max_iter):
            tangent = self._tangent(mean, unit, share, products)
            step = _length(tangent, products)
            if step < self.tol:
                break
            mean = math.cos(step) * mean + math.sin(step) / step * tangent
            mean = mean / max(_length(mean, products), self.tol)
        return (float(norms.mean()) * mean).tolist()

    def _tangent(
        self,
        mean: Float[Tensor, "sources"],
        unit: Float[Tensor, "sources"],
        share: float,
        products: Float[Tensor, "sources sources"],
    ) -> Float[Tensor, "sources"]:
        tangent = torch.zeros_like(mean)
        cosines = (unit * (products @ mean)).clamp(-1, 1).tolist()
        for i, cosine in enumerate(cosines):
            theta = math.acos(cosine)
            if unit[i] == 0 or theta < self.tol:
                continue
            pull = share * theta / math.sin(theta)
            tangent[i] += pull * unit[i]
            tangent -= pull * cosine * mean
        return tangent


def _length(
    coefficients: Float[Tensor, "sources"], products: Float[Tensor, "sources sources"]
) -> float:
    return math.sqrt(max(float(coefficients @ products @ coefficients), 0.0))
