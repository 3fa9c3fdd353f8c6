"""Tensors that stream through memory: blocks of a base and of its sources, side by side.

A method sees the same blocks whether they come from files or from memory. What it gathers about a
whole tensor it gathers over chunks of CHUNK entries, whatever the size of the blocks that are
written later: sums do not depend on that.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from torch import Tensor

CHUNK = 1 << 18
"""Entries in hand at a time: they fit the cache of a processor. Smaller blocks would fit it better,
but what Python does for each of them would cost more than that."""


@dataclass(frozen=True)
class Block:
    """Entries start … start + length of the flattened tensor, from the base and every source.

    base: None where the method has none. sources: weights or deltas, as the method's space says,
    in the recipe's order; a method may not write into them.
    """

    start: int
    base: Float[Tensor, "block"] | None
    sources: tuple[Float[Tensor, "block"], ...]

    def __len__(self) -> int:
        """The number of entries."""
        return self.sources[0].numel() if self.sources else 0


@dataclass(frozen=True)
class Key:
    """What random draws depend on, besides source and position: the run's seed and the tensor."""

    seed: int = 0
    tensor: str = ""


class Streamed(ABC):
    """One tensor of the output as it comes in: its shape, and its blocks as often as is needed."""

    shape: tuple[int, ...]
    key: Key

    @property
    @abstractmethod
    def count(self) -> int:
        """The number of sources."""

    @abstractmethod
    def block(self, start: int, stop: int) -> Block:
        """Entries start … stop of the flattened tensor."""

    @property
    def entries(self) -> int:
        """The number of entries."""
        return prod(self.shape)

    def blocks(self, width: int = 1, *, size: int = CHUNK) -> Iterator[Block]:
        """All blocks in order; each but the last holds about `size` entries, and all hold whole
        rows of `width`."""
        step = max(size // width, 1) * width
        for start in range(0, self.entries, step):
            yield self.block(start, min(start + step, self.entries))


class Held(Streamed):
    """A tensor whose sources are in memory."""

    def __init__(
        self,
        base: Float[Tensor, "*shape"] | None,
        sources: Sequence[Float[Tensor, "*shape"]],
        key: Key | None = None,
    ) -> None:
        """sources: weights or deltas, as the method that they are for wants them."""
        first = sources[0] if sources else base
        assert first is not None, "neither base nor sources"
        self.shape, self.key = tuple(first.shape), key or Key()
        self._base = None if base is None else base.reshape(-1)
        self._sources = [source.reshape(-1) for source in sources]

    @property
    def count(self) -> int:
        """The number of sources."""
        return len(self._sources)

    def block(self, start: int, stop: int) -> Block:
        """Entries start … stop."""
        base = None if self._base is None else self._base[start:stop]
        return Block(start, base, tuple(source[start:stop] for source in self._sources))


_STRETCH = 1024
"""Neighbours that are added up in float32 before float64 takes over."""


def total(values: Float[Tensor, "block"]) -> float:
    """The sum of a block, by stretches of 1024 in float32 and the rest in float64: as exact as
    needed and several times faster than converting every entry."""
    whole = values.numel() // _STRETCH * _STRETCH
    head = values[:whole].view(-1, _STRETCH).sum(1)
    return float(head.sum(dtype=torch.float64) + values[whole:].sum(dtype=torch.float64))


def size(values: Float[Tensor, "block"]) -> float:
    """Σ |x| of a block, summed like `total`."""
    whole = values.numel() // _STRETCH * _STRETCH
    # not vector_norm, which takes five times as long for this order
    sizes = values.abs()
    head = sizes[:whole].view(-1, _STRETCH).sum(1)
    return float(head.sum(dtype=torch.float64) + sizes[whole:].sum(dtype=torch.float64))


def inner(left: Float[Tensor, "block"], right: Float[Tensor, "block"]) -> float:
    """⟨x, y⟩ of a block, summed like `total`."""
    return float(_inner(*_in_stretches(left, right)))


def gram(tensor: Streamed, *, with_base: bool = False) -> Float[Tensor, "n n"]:
    """⟨x_i, x_j⟩ of the flattened sources, in float64, summed chunk by chunk. with_base: the base
    counts as the first of them."""
    count = tensor.count + with_base
    products = np.zeros((count, count))
    for block in tensor.blocks():
        vectors = [block.base, *block.sources] if with_base else block.sources
        cut = _in_stretches(*[vector for vector in vectors if vector is not None])
        for i, left in enumerate(cut):
            for j, right in enumerate(cut[: i + 1]):
                products[i, j] += _inner(left, right)
    return torch.from_numpy(products + np.tril(products, -1).T)


@dataclass(frozen=True)
class _Cut:
    """A vector as stretches of 1024, and the rest of it in float64."""

    head: npt.NDArray[np.float32]
    tail: npt.NDArray[np.float64]


def _in_stretches(*vectors: Float[Tensor, "block"]) -> list[_Cut]:
    whole = vectors[0].numel() // _STRETCH * _STRETCH if vectors else 0
    arrays = [vector.numpy() for vector in vectors]
    return [
        _Cut(array[:whole].reshape(-1, _STRETCH), array[whole:].astype(np.float64))
        for array in arrays
    ]


def _inner(left: _Cut, right: _Cut) -> np.float64:
    # one dot product for each stretch, without an array of the products
    head = np.vecdot(left.head, right.head).sum(dtype=np.float64)
    return head + np.dot(left.tail, right.tail) if len(left.tail) else head
