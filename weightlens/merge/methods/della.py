"""DELLA: drop entries of each delta at random, small ones more often than large ones.

    m_ij = 1 with probability  density − ε + 2ε (r_ij − 1)/(n − 1)

where r_ij is the rank of |δ_ij| in its row of n entries, 1 for the smallest; of equal entries the
one further left ranks lower. della elects signs before it adds, della_linear does not
(weightlens.merge.sparse). Deep et al. 2024, arXiv:2406.11617, section 3.1.
"""

from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float
from pydantic import model_validator
from torch import Tensor

from weightlens.merge.draws import uniform
from weightlens.merge.method import PerSource, Share
from weightlens.merge.sparse import Sparse, Trim
from weightlens.merge.streaming import Block, Streamed

_REMEMBERED = 1 << 28
"""Entries in all whose masks are kept, one bit each, between the two passes; beyond, and for
blocks cut differently, they are made anew."""


class _Della(Sparse):
    rescale: bool = True
    passes: ClassVar[str] = "row-wise"
    epsilon: Annotated[tuple[Share, ...], PerSource(default=0.15)] = ()

    @model_validator(mode="after")
    def _probabilities(self) -> "_Della":
        for density, epsilon in zip(self.density, self.epsilon, strict=True):
            if 0 < density < 1 and not epsilon < min(density, 1 - density):
                raise ValueError(f"epsilon {epsilon:g} takes density {density:g} ± epsilon out of "
                                 "0 to 1")  # fmt: skip
        return self

    def width(self, shape: tuple[int, ...]) -> int:
        """A row."""
        return max(shape[-1], 1) if shape else 1

    def trimming(self, tensor: Streamed) -> Trim:
        """Each entry by its own draw against the probability of its rank."""
        width = self.width(tensor.shape)
        known: dict[tuple[int, int, int], np.ndarray] = {}
        remembered = self.rescale and tensor.entries * tensor.count <= _REMEMBERED

        def trimmed(block: Block, source: int) -> Float[Tensor, "block"]:
            delta, density = block.sources[source], self.density[source]
            if density >= 1:
                return delta
            if density <= 0:
                return torch.zeros_like(delta)
            place = (source, block.start, len(block))
            if place in known:
                bits = np.unpackbits(known[place], count=len(block))
                return delta * torch.from_numpy(bits)
            share = _shares(delta.view(-1, width)).flatten()
            probability = share.mul_(2 * self.epsilon[source]).add_(density - self.epsilon[source])
            kept = uniform(tensor.key, source, block.start, len(block)) < probability
            if remembered:
                known[place] = np.packbits(kept.numpy())
            return delta * kept

        return lambda block: [trimmed(block, i) for i in range(tensor.count)]


def _shares(rows: Float[Tensor, "rows n"]) -> Float[Tensor, "rows n"]:
    """(r − 1)/(n − 1), and 1/2 for an entry alone."""
    width = rows.shape[1]
    return (ranks(rows) - 1) / (width - 1) if width > 1 else torch.full_like(rows, 0.5)


def ranks(rows: Float[Tensor, "rows n"]) -> Float[Tensor, "rows n"]:
    """Rank of each entry's size in its row: 1 for the smallest, of equals the leftmost first.

    Sizes and columns are packed into one integer each, since sorting integers is several times
    faster than asking for an order.
    """
    sizes = rows.abs().numpy().view(np.uint32).astype(np.uint64)
    packed = (sizes << np.uint64(32)) | np.arange(rows.shape[1], dtype=np.uint64)
    packed.sort(axis=1)
    order = (packed & np.uint64(0xFFFFFFFF)).astype(np.int64)
    ranked = np.empty(rows.shape, np.float32)
    ascending = np.arange(1, rows.shape[1] + 1, dtype=np.float32)
    np.put_along_axis(ranked, order, np.broadcast_to(ascending, rows.shape), axis=1)
    return torch.from_numpy(ranked)


class Della(_Della):
    """epsilon: half the spread of the probabilities; the others as in Sparse, with normalize and
    rescale on by default."""

    method: Literal["della"] = "della"
    elects: ClassVar[bool] = True
    normalize: bool = True


class DellaLinear(_Della):
    """epsilon: half the spread of the probabilities; the others as in Sparse, with rescale on by
    default."""

    method: Literal["della_linear"] = "della_linear"
    elects: ClassVar[bool] = False
