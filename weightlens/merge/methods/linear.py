"""Linear: the weighted mean of the models' weights.

    w = Σ_i a_i w_i,   a_i = weight_i / Σ_j weight_j   (or weight_i with normalize: false)

Wortsman et al. 2022, "Model soups", arXiv:2203.05482, section 2.
"""

from typing import ClassVar, Literal

from jaxtyping import Float
from pydantic import model_validator
from torch import Tensor

from weightlens.merge.method import BaseUse, OnWeights, Weight, normalised, weighted_sum
from weightlens.merge.streaming import Block


class Linear(OnWeights):
    """weight: share of each source; normalize: whether the shares are made to sum to 1."""

    method: Literal["linear"] = "linear"
    base: ClassVar[BaseUse] = "ignored"
    weight: Weight
    normalize: bool = True

    @model_validator(mode="after")
    def _weights_have_a_sum(self) -> "Linear":
        if self.normalize:
            normalised(self.weight)
        return self

    def combine(self, block: Block, gathered: None) -> Float[Tensor, "block"]:
        """The weighted mean."""
        weights = normalised(self.weight) if self.normalize else self.weight
        return weighted_sum(block.sources, weights)
