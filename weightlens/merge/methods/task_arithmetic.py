"""Task arithmetic: the base plus a weighted sum of deltas.

    w = w_0 + λ Σ_i weight_i (w_i − w_0)

Ilharco et al. 2022, "Editing models with task arithmetic", arXiv:2212.04089, section 2.
"""

from typing import Literal

from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor

from weightlens.merge.method import Finite, OnDeltas, Weight, normalised, weighted_sum
from weightlens.merge.streaming import Block


class TaskArithmetic(OnDeltas):
    """weight: factor of each source's delta; lambda: factor of their sum.

    normalize: whether the weights are made to sum to 1 (off by default).
    """

    method: Literal["task_arithmetic"] = "task_arithmetic"
    weight: Weight
    normalize: bool = False
    lambda_: Finite = Field(default=1.0, alias="lambda")

    @model_validator(mode="after")
    def _weights_have_a_sum(self) -> "TaskArithmetic":
        if self.normalize:
            normalised(self.weight)
        return self

    def factors(self) -> tuple[float, ...]:
        """What each source's delta is multiplied by."""
        weights = normalised(self.weight) if self.normalize else self.weight
        return tuple(self.lambda_ * weight for weight in weights)

    def combine(self, block: Block, gathered: None) -> Float[Tensor, "block"]:
        """The delta of the merge."""
        return weighted_sum(block.sources, self.factors())
