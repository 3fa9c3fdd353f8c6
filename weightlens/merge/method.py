"""What a merge method is: the recipe's parameters, and arithmetic on tensors in float32.

A method works on weights (`linear`) or on deltas from the base (`task_arithmetic`); the engine
hands it the one or the other, casts once, at writing, and adds the base back to what it makes of
deltas.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor


class PerSource:
    """Marks a parameter that each source has a value of its own for, in the recipe's order."""


PER_SOURCE = PerSource()
Finite = Annotated[float, Field(allow_inf_nan=False)]
Weight = Annotated[tuple[Finite, ...], PER_SOURCE]


class MergeMethod(BaseModel, ABC):
    """A merge method with its parameters."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    method: str
    space: ClassVar[Literal["weights", "deltas"]]


class Pointwise(MergeMethod):
    """A method that needs one entry of each source at a time, so that it streams in blocks."""

    @abstractmethod
    def combine(self, entries: Sequence[Float[Tensor, "*shape"]]) -> Float[Tensor, "*shape"]:
        """One tensor out of one of each source; the result depends on no entry's neighbours."""


def weighted_sum(
    entries: Sequence[Float[Tensor, "*shape"]], weights: Sequence[float]
) -> Float[Tensor, "*shape"]:
    """Σ w_i x_i, one product and one sum at a time.

    Not fused: a fused multiply-add would round the vectorised part of a block and its tail
    differently, and the result would depend on the block size.
    """
    total = entries[0] * weights[0]
    for entry, weight in zip(entries[1:], weights[1:], strict=True):
        total += entry * weight
    return total


def normalised(weights: Sequence[float]) -> tuple[float, ...]:
    """Weights that sum to 1. Raises ValueError where they sum to 0."""
    total = sum(weights)
    if abs(total) < 1e-8 * sum(abs(w) for w in weights) or total == 0:
        raise ValueError(f"weights {list(weights)} sum to zero; set normalize: false")
    return tuple(w / total for w in weights)
