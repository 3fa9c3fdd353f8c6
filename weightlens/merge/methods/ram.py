"""RAM: average what several deltas changed, keep whole what only one of them did.

    changed_i = |δ_i| > ε,  c = Σ_i changed_i
    δ = Σ_i changed_i δ_i λ_i    where c = 1
    δ = Σ_i changed_i δ_i / c    where c > 1

λ_i = 1 in ram. In ramplus_tl a delta that shares more of its entries than it has to itself gets
λ_i = 1 + r · min(α, shared_i / unique_i), counted over the tensor. arXiv:2601.13572, section 3;
mergekit 0.1.5.
"""

from collections.abc import Sequence
from functools import reduce
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor
from torch.nn.functional import hardshrink

from weightlens.merge.method import Finite, OnDeltas, weighted_sum
from weightlens.merge.streaming import Block, Streamed


class Ram(OnDeltas):
    """epsilon: the change that counts as one."""

    method: Literal["ram"] = "ram"
    epsilon: float = Field(default=1e-5, ge=0)

    def combine(self, block: Block, gathered: None) -> Float[Tensor, "block"]:
        """The delta of the merge."""
        changes = _changes(block, self.epsilon)
        # what only one of them changed is divided by 1
        return _sum(changes).div_(_counted(changes).clamp_(min=1))


class RamPlusTensorLocal(OnDeltas):
    """r: how much a delta is raised where it is alone, by shared over unique entries; alpha: the
    most that this quotient counts; epsilon: the change that counts as one."""

    method: Literal["ramplus_tl"] = "ramplus_tl"
    passes: ClassVar[str] = "two-pass"
    r: Finite = 0.1
    alpha: float = Field(default=0.2, ge=0)
    epsilon: float = Field(default=1e-5, gt=0)

    def gather(self, tensor: Streamed) -> tuple[float, ...]:
        """λ for each source."""
        shared, unique = [0] * tensor.count, [0] * tensor.count
        for block in tensor.blocks():
            changed = [_nonzero(change) for change in _changes(block, self.epsilon)]
            alone = _alone(_sum(changed))
            for i, ones in enumerate(changed):
                # whole numbers, which float32 adds exactly as far as blocks go
                by_itself = int(ones.dot(alone))
                unique[i] += by_itself
                shared[i] += int(ones.sum()) - by_itself
        return tuple(
            1 + self.r * min(s / max(u, self.epsilon), self.alpha)
            for s, u in zip(shared, unique, strict=True)
        )

    def combine(self, block: Block, gathered: tuple[float, ...]) -> Float[Tensor, "block"]:
        """The delta of the merge."""
        changes = _changes(block, self.epsilon)
        count = _counted(changes)
        raised = weighted_sum(changes, gathered)
        alone = _alone(count)
        # by a weight of 0 or 1, which gives the one or the other to the bit
        return _sum(changes).div_(count.clamp_(min=1)).lerp_(raised, alone)


def _changes(block: Block, epsilon: float) -> list[Float[Tensor, "block"]]:
    """The deltas, 0 where they are no larger than ε."""
    return [hardshrink(delta, epsilon) for delta in block.sources]


def _counted(changes: Sequence[Float[Tensor, "block"]]) -> Float[Tensor, "block"]:
    """How many of them changed an entry."""
    return _sum([_nonzero(change) for change in changes])


def _sum(of: Sequence[Float[Tensor, "block"]]) -> Float[Tensor, "block"]:
    first, *others = of
    return reduce(Tensor.add_, others, first.clone())


# 0 or 1 as floats, which torch compares and multiplies several times faster than truth values
def _nonzero(values: Float[Tensor, "block"]) -> Float[Tensor, "block"]:
    return torch.ne(values, 0, out=torch.empty_like(values))


def _alone(count: Float[Tensor, "block"]) -> Float[Tensor, "block"]:
    return torch.eq(count, 1, out=torch.empty_like(count))
