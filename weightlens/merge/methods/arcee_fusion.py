"""Arcee fusion: take the entries of a fine-tune that matter most, leave the base's elsewhere.

    importance = |w_1 − w_0| · KL(softmax(w_1) ‖ softmax(w_0))      the divergence row by row
    w = w_1 where importance ≥ median + 1.5 (q_3 − q_1), else w_0

with the quartiles of all importances of the tensor: exact order statistics here; mergekit 0.1.5
draws a million entries with replacement from larger tensors.
"""

from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from weightlens.merge.method import OnWeights
from weightlens.merge.selection import cuts
from weightlens.merge.streaming import Block, Streamed

_SMALLEST = 1e-8


class ArceeFusion(OnWeights):
    """No parameters."""

    method: Literal["arcee_fusion"] = "arcee_fusion"
    most: ClassVar[int | None] = 1
    passes: ClassVar[str] = "row-wise"

    def width(self, shape: tuple[int, ...]) -> int:
        """A row."""
        return max(shape[-1], 1) if shape else 1

    def gather(self, tensor: Streamed) -> tuple[int, float]:
        """The width of a row, and the importance from which on entries are taken."""
        width = self.width(tensor.shape)
        entries = tensor.entries
        if not entries:
            return width, 0.0
        # the i-th smallest is the (n − i)-th largest, i from 0
        ranks = [entries - (quarter * (entries - 1)) // 4 for quarter in (1, 2, 3)]
        (found,) = cuts(tensor, lambda b: [importance(b, width)], [ranks], width=width)
        q1, median, q3 = (cut.value for cut in found)
        return width, median + 1.5 * (q3 - q1)

    def combine(self, block: Block, gathered: tuple[int, float]) -> Float[Tensor, "block"]:
        """The fine-tune's entries where they matter."""
        width, threshold = gathered
        base, (other,) = block.base, block.sources
        assert base is not None
        return torch.where(importance(block, width) >= threshold, other, base)


def importance(block: Block, width: int) -> Float[Tensor, "block"]:
    """|w_1 − w_0| times the divergence of the row."""
    base, (other,) = block.base, block.sources
    assert base is not None
    p = torch.softmax(other.view(-1, width), dim=1) + _SMALLEST
    q = torch.softmax(base.view(-1, width), dim=1) + _SMALLEST
    divergence = (p * (p / q).log_()).sum(1, keepdim=True)
    return ((other - base).abs().view(-1, width) * divergence).flatten()
