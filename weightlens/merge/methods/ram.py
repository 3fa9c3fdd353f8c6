"""RAM: average what several deltas changed, keep whole what only one of them did.

    changed_i = |δ_i| > ε,  c = Σ_i changed_i
    δ = Σ_i changed_i δ_i λ_i    where c = 1
    δ = Σ_i changed_i δ_i / c    where c > 1

λ_i = 1 in ram. In ramplus_tl a delta that shares more of its entries than it has to itself gets
λ_i = 1 + r · min(α, shared_i / unique_i), counted over the tensor. arXiv:2601.13572, section 3;
mergekit 0.1.5.
"""

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field
from torch import Tensor

from weightlens.merge.method import Finite, OnDeltas
from weightlens.merge.streaming import Block, Streamed


class Ram(OnDeltas):
    """epsilon: the change that counts as one."""

    method: Literal["ram"] = "ram"
    epsilon: float = Field(default=1e-5, ge=0)

    def combine(self, block: Block, gathered: None) -> Float[Tensor, "block"]:
        """The delta of the merge."""
        return _combined(block, self.epsilon, [1.0] * len(block.sources))


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
            changed, count = _changed(block, self.epsilon)
            for i, mask in enumerate(changed):
                shared[i] += int(torch.count_nonzero(mask & (count > 1)))
                unique[i] += int(torch.count_nonzero(mask & (count == 1)))
        return tuple(
            1 + self.r * min(s / max(u, self.epsilon), self.alpha)
            for s, u in zip(shared, unique, strict=True)
        )

    def combine(self, block: Block, gathered: tuple[float, ...]) -> Float[Tensor, "block"]:
        """The delta of the merge."""
        return _combined(block, self.epsilon, gathered)


def _changed(
    block: Block, epsilon: float
) -> tuple[list[Bool[Tensor, "block"]], Int[Tensor, "block"]]:
    changed = [delta.abs() > epsilon for delta in block.sources]
    count = torch.zeros(len(block), dtype=torch.int16)
    for mask in changed:
        count += mask
    return changed, count


def _combined(block: Block, epsilon: float, raised: Sequence[float]) -> Float[Tensor, "block"]:
    changed, count = _changed(block, epsilon)
    divisor = count.clamp(min=1).float()
    total = torch.zeros(len(block))
    for delta, mask, factor in zip(block.sources, changed, raised, strict=True):
        kept = delta * mask
        total += torch.where(count > 1, kept / divisor, kept * factor)
    return total
