"""Sparse methods whose entries stay by chance, each by a draw of its own."""

from abc import abstractmethod
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from torch import Tensor

from weightlens.merge.draws import Limits, below
from weightlens.merge.sparse import Sparse, Trim
from weightlens.merge.streaming import Block, Streamed

Kept = npt.NDArray[np.bool_]

_REMEMBERED = 1 << 29
"""Entries, over all sources, of which is kept in one bit each whether they stay, between the pass
that sums them and the one that merges them; for more, and for other blocks, it is found anew."""


class Thinned(Sparse):
    """Parameters as in Sparse; rescale is on by default."""

    rescale: bool = True
    passes: ClassVar[str] = "two-pass"

    @abstractmethod
    def limits(self, delta: Float[Tensor, "block"], source: int, width: int) -> Limits:
        """What the draw of each entry has to be below for the entry to stay; one for each, or one
        for all of them. width: of a row, which the block holds whole ones of."""

    def trimming(self, tensor: Streamed) -> Trim:
        """Each entry by its own draw."""
        width = self.width(tensor.shape)
        known: dict[tuple[int, int, int], npt.NDArray[np.uint8]] = {}
        remembers = self.rescale and tensor.entries * tensor.count <= _REMEMBERED

        def kept(block: Block, source: int) -> Kept:
            place = (source, block.start, len(block))
            if place in known:
                return np.unpackbits(known[place], count=len(block)).view(np.bool_)
            limits = self.limits(block.sources[source], source, width)
            found = below(tensor.key, source, block.start, len(block), limits)
            if remembers:
                known[place] = np.packbits(found)
            return found

        def trimmed(block: Block, source: int) -> Float[Tensor, "block"]:
            delta, density = block.sources[source], self.density[source]
            if density >= 1:
                return delta
            if density <= 0:
                return torch.zeros_like(delta)
            # numpy, and two steps of one type each: several times faster at it than torch
            ones = kept(block, source).astype(np.float32)
            return torch.from_numpy(np.multiply(delta.numpy(), ones, out=ones))

        return lambda block: [trimmed(block, i) for i in range(tensor.count)]
