"""What a merge method is: the recipe's parameters for one tensor, and arithmetic in float32.

A method sees a tensor in blocks of a base and its sources. It first gathers what it needs to know
of the whole tensor (a threshold, a norm; most need nothing), then combines block by block. Its
result depends on no block's length, so the same recipe gives the same bytes however it is run.

A method works on weights (`linear`) or on deltas from the base (`task_arithmetic`); the engine
hands it the one or the other, casts once, at writing, and adds the base back to what it makes of
deltas.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from weightlens.merge.streaming import Block, Held, Key, Streamed

Space = Literal["weights", "deltas"]
BaseUse = Literal["required", "optional", "ignored"]


@dataclass(frozen=True)
class PerSource:
    """Marks a parameter that each source has a value of its own for, in the recipe's order.

    default: the value of a source that is given none; without one, such a source is an error.
    """

    default: float | None = None
    required: bool = True

    @property
    def needed(self) -> bool:
        """Whether a source without a value is an error."""
        return self.required and self.default is None


Finite = Annotated[float, Field(allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[tuple[Finite, ...], PerSource()]


class MergeMethod(BaseModel, ABC):
    """A merge method with its parameters.

    base: whether it needs a base; "ignored" means that a base named in the recipe is a source like
    the others. fewest, most: how many sources it takes, the base not counted unless it is ignored.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    method: str
    base: ClassVar[BaseUse] = "required"
    fewest: ClassVar[int] = 1
    most: ClassVar[int | None] = None
    passes: ClassVar[str] = "pointwise"

    @classmethod
    @abstractmethod
    def space(cls, based: bool) -> Space:
        """Whether sources are weights or deltas; based: whether there is a base."""

    def width(self, shape: tuple[int, ...]) -> int:
        """Blocks hold whole rows of this many entries; 1 where entries do not depend on others."""
        return 1

    def gather(self, tensor: Streamed) -> Any:
        """What `combine` needs to know about the whole tensor. Raises ValueError where the
        parameters and the tensor do not go together."""
        return None

    @abstractmethod
    def combine(self, block: Block, gathered: Any) -> Float[Tensor, "block"]:
        """The entries of the merge: weights, or their delta where the method works on deltas."""


class OnWeights(MergeMethod):
    """A method that works on weights."""

    @classmethod
    def space(cls, based: bool) -> Space:
        """Weights."""
        return "weights"


class OnDeltas(MergeMethod):
    """A method that works on deltas from a base."""

    @classmethod
    def space(cls, based: bool) -> Space:
        """Deltas."""
        return "deltas"


class OnEither(MergeMethod):
    """A method that works on deltas where there is a base, and else on weights."""

    base: ClassVar[BaseUse] = "optional"

    @classmethod
    def space(cls, based: bool) -> Space:
        """Deltas with a base, weights without."""
        return "deltas" if based else "weights"


def merged(
    method: MergeMethod,
    sources: Sequence[Float[Tensor, "*shape"]],
    base: Float[Tensor, "*shape"] | None = None,
    *,
    key: Key | None = None,
) -> Float[Tensor, "*shape"]:
    """One tensor, merged in memory: weights in float32 in, weights out.

    Raises ValueError where the parameters and the tensor do not go together.
    """
    on_deltas = method.space(base is not None) == "deltas"
    given = [s - base for s in sources] if on_deltas and base is not None else list(sources)
    tensor = Held(base, given, key)
    gathered = method.gather(tensor)
    blocks = [
        method.combine(block, gathered) for block in tensor.blocks(method.width(tensor.shape))
    ]
    # the first: a tensor without entries has no blocks
    result = torch.cat([torch.empty(0), *blocks]).reshape(tensor.shape)
    return base + result if on_deltas and base is not None else result


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
