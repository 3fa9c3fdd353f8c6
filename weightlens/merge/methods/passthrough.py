"""Passthrough: one model's tensor as it is, or times a number.

With slices it stacks layers of several models into one, as in depth up-scaling (Kim et al. 2023,
arXiv:2312.15166, section 2).
"""

from typing import Annotated, ClassVar, Literal

from jaxtyping import Float
from torch import Tensor

from weightlens.merge.method import BaseUse, Finite, OnWeights, PerSource
from weightlens.merge.streaming import Block


class Passthrough(OnWeights):
    """scale: factor of the source; none: bit for bit."""

    method: Literal["passthrough"] = "passthrough"
    base: ClassVar[BaseUse] = "ignored"
    most: ClassVar[int | None] = 1
    scale: Annotated[tuple[Finite | None, ...], PerSource(required=False)] = ()

    def combine(self, block: Block, gathered: None) -> Float[Tensor, "block"]:
        """The source."""
        scale = self.scale[0] if self.scale else None
        return block.sources[0] if scale is None else block.sources[0] * scale
