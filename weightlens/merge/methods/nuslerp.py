"""NuSLERP: spherical interpolation of two models or, with a base, of their deltas.

    δ = sin((1−t)θ)/sin θ · δ_1 + sin(tθ)/sin θ · δ_2      t = weight_2 / (weight_1 + weight_2)

θ is the angle between the whole tensors (nuslerp_flatten), between their rows (vectors along the
last axis; flatten off), or between their columns (vectors along the first axis; nuslerp_row_wise,
mergekit's name for it). Where vectors are parallel the sum is linear. mergekit 0.1.5.
"""

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from weightlens.merge.method import Finite, OnEither, PerSource
from weightlens.merge.streaming import Block, Streamed, gram

_SHORTEST = 1e-7
_PARALLEL = 1 - 1e-12
"""Angles below 1.4e-6, or as close to π: opposite vectors of float32 entries are opposite to within
some 1e-7, and 1/sin θ would blow their rounding up."""


@dataclass(frozen=True)
class Products:
    """‖a‖², ‖b‖² and ⟨a, b⟩ of pairs of vectors, float64."""

    aa: Float[Tensor, "*n"]
    bb: Float[Tensor, "*n"]
    ab: Float[Tensor, "*n"]


@dataclass(frozen=True)
class Vectors:
    """The rows that blocks hold are `width` wide; products: of the whole or of each column, None
    where each row has its own."""

    width: int
    products: Products | None


class NuSlerp(OnEither):
    """weight: of each of the two sources; nuslerp_flatten: the whole tensor is one vector, else
    each row is; nuslerp_row_wise: without flatten, each column is."""

    method: Literal["nuslerp"] = "nuslerp"
    fewest: ClassVar[int] = 2
    most: ClassVar[int | None] = 2
    passes: ClassVar[str] = "two-pass"
    weight: Annotated[tuple[Finite, ...], PerSource()]
    nuslerp_flatten: bool = True
    nuslerp_row_wise: bool = False

    @property
    def t(self) -> float:
        """How far from the first source to the second."""
        total = sum(self.weight)
        return 0.5 if abs(total) < 1e-6 else self.weight[1] / total

    def width(self, shape: tuple[int, ...]) -> int:
        """A row, or all that one index of the first axis holds."""
        if self.nuslerp_flatten or not shape:
            return 1
        return max(math.prod(shape[1:]) if self._by_columns(shape) else shape[-1], 1)

    def _by_columns(self, shape: tuple[int, ...]) -> bool:
        return self.nuslerp_row_wise and len(shape) > 1

    def gather(self, tensor: Streamed) -> Vectors:
        """The products of the whole, or of each column; rows have theirs at hand."""
        width = self.width(tensor.shape)
        if not self.nuslerp_flatten and not self._by_columns(tensor.shape):
            return Vectors(width, None)
        if self.nuslerp_flatten:
            products = gram(tensor)
            return Vectors(width, Products(products[0, 0], products[1, 1], products[0, 1]))
        total = torch.zeros(3, width, dtype=torch.float64)
        for block in tensor.blocks(width):
            total += _products(block, width, axis=0)
        return Vectors(width, Products(*total))

    def combine(self, block: Block, gathered: Vectors) -> Float[Tensor, "block"]:
        """The points on the arcs."""
        products = gathered.products
        if products is None:
            products = Products(*_products(block, gathered.width, axis=1).unsqueeze(-1))
        a, b = (source.view(-1, gathered.width) for source in block.sources)
        first, second = self._factors(products)
        return (first * a + second * b).flatten()

    def _factors(self, of: Products) -> tuple[Float[Tensor, "*n"], Float[Tensor, "*n"]]:
        norms = of.aa.sqrt().clamp(min=_SHORTEST) * of.bb.sqrt().clamp(min=_SHORTEST)
        cosine = (of.ab / norms).clamp(-1, 1)
        parallel = cosine.abs() > _PARALLEL
        theta = torch.acos(torch.where(parallel, torch.zeros_like(cosine), cosine))
        first, second = (
            torch.sin(share * theta) / torch.sin(theta) for share in (1 - self.t, self.t)
        )
        return (
            torch.where(parallel, 1 - self.t, first).float(),
            torch.where(parallel, self.t, second).float(),
        )


def _products(block: Block, width: int, *, axis: int) -> Float[Tensor, "3 n"]:
    """‖a‖², ‖b‖², ⟨a, b⟩ along an axis of the rows."""
    a, b = (source.view(-1, width).double() for source in block.sources)
    return torch.stack([(a * a).sum(axis), (b * b).sum(axis), (a * b).sum(axis)])
