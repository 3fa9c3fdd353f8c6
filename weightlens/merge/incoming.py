"""A job's tensor as it comes in from the sources, block by block or whole."""

import torch
from jaxtyping import Float
from torch import Tensor

from weightlens.merge.jobs import Input, Job
from weightlens.merge.streaming import Block, Key, Streamed


class Incoming(Streamed):
    """Blocks read from files as they are asked for; nothing is kept. What one pass has found to be
    finite, the next does not check again."""

    def __init__(self, job: Job, seed: int) -> None:
        """seed: for the method's random draws."""
        self.shape, self.key = job.info.shape, Key(seed, job.name)
        self._job = job
        self._checked = 0
        self._on_deltas = job.method.space(job.base is not None) == "deltas"

    @property
    def count(self) -> int:
        """The number of sources."""
        return len(self._job.inputs)

    def block(self, start: int, stop: int) -> Block:
        """Entries start … stop: weights or deltas in float32. Raises NonFiniteTensor."""
        job = self._job
        again = stop <= self._checked
        base = None if job.base is None else self._read(job.base, start, stop, again)
        sources = [self._read(source, start, stop, again) for source in job.inputs]
        if start <= self._checked:
            self._checked = max(stop, self._checked)
        if self._on_deltas and base is not None:
            sources = [source.sub_(base) for source in sources]
        return Block(start, base, tuple(sources))

    def _read(self, source: Input, start: int, stop: int, again: bool) -> Float[Tensor, "block"]:
        own, weights = source.info.entries, source.source.weights
        if stop <= own and again:
            return weights.read_again(source.name, start, stop)
        if stop <= own:
            return weights.read_block(source.name, start, stop)
        there = self._job.fallback
        if start >= own:
            return there.source.weights.read_block(there.name, start, stop)
        return torch.cat([
            weights.read_block(source.name, start, own),
            there.source.weights.read_block(there.name, own, stop),
        ])  # fmt: skip


def whole(source: Input, job: Job) -> Float[Tensor, "*shape"]:
    """A source's tensor with its adapters applied, in the shape of the output."""
    tensor = source.source.model.tensor(source.name, source.source.weights)
    rows = job.info.shape[0] if job.info.shape else 0
    if tensor.shape == job.info.shape:
        return tensor
    if tensor.shape[0] > rows:
        return tensor[:rows]
    there = job.fallback
    missing = there.source.weights.read(there.name)[tensor.shape[0] : rows]
    return torch.cat([tensor, missing])
