"""Task arithmetic: the base plus a weighted sum of deltas.

    w = w_0 + λ Σ_i weight_i (w_i − w_0)

Ilharco et al. 2022, "Editing models with task arithmetic", arXiv:2212.04089, section 2.
"""

from collections.abc import Sequence
from typing import ClassVar, Literal

from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor

from weightlens.merge.method import Finite, Pointwise, Weight, normalised, weighted_sum


class TaskArithmetic(Pointwise):
    """weight: factor of each source's delta; lambda: factor of their sum.

    normalize: whether the weights are made to sum to 1 (off by default).
    """

    method: Literal["task_arithmetic"] = "task_arithmetic"
    space: ClassVar[Literal["weights", "deltas"]] = "deltas"
    weight: Weight
    normalize: bool = False
    lambda_: Finite = Field(default=1.0, alias="lambda")

    @model_validator(mode="after")
    def _weights_have_a_sum(self) -> "TaskArithmetic":
        if self.normalize:
            normalised(self.weight)
        return self

    def combine(self, entries: Sequence[Float[Tensor, "*shape"]]) -> Float[Tensor, "*shape"]:
        """The delta of the merge."""
        weights = normalised(self.weight) if self.normalize else self.weight
        return weighted_sum(entries, [self.lambda_ * weight for weight in weights])
