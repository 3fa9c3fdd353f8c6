"""A base and fine-tunes of it, one tensor each; and numbers that add up without rounding."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from hypothesis import strategies as st
from torch import Tensor

from weightlens.merge.method import MergeMethod
from weightlens.merge.streaming import Held, Key


@dataclass(frozen=True)
class Family:
    """A tensor of a base and of its fine-tunes."""

    base: Tensor
    tuned: list[Tensor]

    @property
    def deltas(self) -> list[Tensor]:
        """What each fine-tune adds to the base."""
        return [t - self.base for t in self.tuned]


def family(shape: tuple[int, ...], count: int = 3, *, seed: int = 7, size: float = 0.02) -> Family:
    """Normal weights of spread 0.05; deltas about `size` times as long, no two entries tied."""
    generator = torch.Generator().manual_seed(seed)
    base = torch.randn(shape, generator=generator) * 0.05
    tuned = []
    for _ in range(count):
        spread = 0.5 + torch.rand(shape, generator=generator)
        tuned.append(base + torch.randn(shape, generator=generator) * spread * 0.05 * size)
    return Family(base, tuned)


def vector(*entries: float) -> Tensor:
    """A float32 tensor of one axis."""
    return torch.tensor(entries, dtype=torch.float32)


def dyadic(entries: int) -> st.SearchStrategy[Tensor]:
    """Multiples of 1/16 between −4 and 4: float32 adds and multiplies them without rounding."""
    numbers = st.lists(st.integers(-64, 64), min_size=entries, max_size=entries)
    return numbers.map(lambda drawn: torch.tensor(drawn, dtype=torch.float32) / 16)


def several(count: int, entries: int) -> st.SearchStrategy[list[Tensor]]:
    """So many dyadic tensors."""
    return st.lists(dyadic(entries), min_size=count, max_size=count)


def held(
    method: MergeMethod,
    tuned: Sequence[Tensor],
    base: Tensor | None,
    key: Key | None = None,
) -> Held:
    """What the method streams: weights or deltas, as it wants them."""
    if base is not None and method.space(True) == "deltas":
        tuned = [t - base for t in tuned]
    return Held(base, list(tuned), key)
