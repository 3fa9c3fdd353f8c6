"""SCE: select the entries in which the deltas differ most, weigh deltas by their energy, erase the
minority sign.

    select   the k entries of largest variance over the deltas stay, k = ⌊select_topk · #{var > 0}⌋
    compute  weight_i = ‖δ_i‖² / Σ_j ‖δ_j‖²
    erase    entries whose sign is not that of Σ_i δ_i (+ for 0) drop out
    merge    δ = Σ weight_i δ_i / Σ weight_i over those that are left

Wan et al. 2024, arXiv:2408.07990, section 3.3.
"""

from dataclasses import dataclass
from functools import reduce
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from weightlens.merge.method import OnDeltas
from weightlens.merge.selection import EVERYTHING, Cut, cuts
from weightlens.merge.sparse import sign_bits, turn
from weightlens.merge.streaming import Block, Streamed, inner

_SMALLEST = 1e-6


@dataclass(frozen=True)
class Selected:
    """Which entries stay, and the weight of each source."""

    cut: Cut
    weights: tuple[float, ...]


class Sce(OnDeltas):
    """select_topk: share of the entries that stay. int8_mask: accepted, without effect here."""

    method: Literal["sce"] = "sce"
    passes: ClassVar[str] = "two-pass"
    select_topk: float = Field(default=1.0, ge=0)
    int8_mask: bool = False

    def gather(self, tensor: Streamed) -> Selected:
        """The cut through the variances, and the energies of what stays."""
        cut = EVERYTHING
        if self.select_topk < 1:
            varying = sum(int(torch.count_nonzero(_variance(b))) for b in tensor.blocks())
            rank = int(varying * self.select_topk)
            ((cut,),) = cuts(tensor, lambda block: [_variance(block)], [[rank]])
        energies = [0.0] * tensor.count
        for block in tensor.blocks():
            for i, delta in enumerate(_selected(block, cut)):
                energies[i] += inner(delta, delta) / tensor.entries
        total = sum(energies)
        if abs(total) < _SMALLEST:
            return Selected(cut, (1 / tensor.count,) * tensor.count)
        return Selected(cut, tuple(energy / total for energy in energies))

    def combine(self, block: Block, gathered: Selected) -> Float[Tensor, "block"]:
        """The delta of the merge."""
        deltas = _selected(block, gathered.cut)
        elected = sign_bits(deltas)
        total, divisor = torch.zeros_like(deltas[0]), torch.zeros_like(deltas[0])
        for delta, weight in zip(deltas, gathered.weights, strict=True):
            agreeing = turn(delta.clone(), elected).clamp_(min=0)
            total += agreeing * weight
            divisor += agreeing.sign_().mul_(weight)
        return turn(total, elected).div_(divisor.clamp_(min=_SMALLEST))


def _selected(block: Block, cut: Cut) -> list[Float[Tensor, "block"]]:
    if cut is EVERYTHING:
        return list(block.sources)
    mask = cut.keeps(_variance(block), block.start)
    return [delta * mask for delta in block.sources]


def _variance(block: Block) -> Float[Tensor, "block"]:
    """Over the sources, entry by entry."""
    first, *others = block.sources
    # from the first on: exactly 0 where all are equal
    away = [other - first for other in others]
    mean = reduce(torch.add, away, torch.zeros_like(first)) / len(block.sources)
    squares = [mean.square(), *(distance.sub_(mean).square_() for distance in away)]
    return reduce(Tensor.add_, squares).div_(len(block.sources))
