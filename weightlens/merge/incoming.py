"""A job's tensor as it comes in from the sources, block by block or whole."""

from contextlib import ExitStack

import torch
from jaxtyping import Float
from torch import Tensor

from weightlens.checkpoint.weights import ReadInto, all_finite
from weightlens.errors import NonFiniteTensor
from weightlens.merge.job import Input, Job
from weightlens.merge.streaming import Block, Key, Streamed


class Incoming(Streamed):
    """Blocks read from files as they are asked for, each into the memory of the one before. What
    one pass has found to be finite, the next does not check again. A context manager, which holds
    the files open."""

    def __init__(self, job: Job, seed: int) -> None:
        """seed: for the method's random draws."""
        self.shape, self.key = job.info.shape, Key(seed, job.name)
        self._job = job
        self._checked = 0
        self._on_deltas = job.method.space(job.base is not None) == "deltas"
        self._rows = torch.empty(len(job.all_inputs), 0)
        self._open = ExitStack()
        self._read: list[tuple[int, ReadInto]] = []

    def __enter__(self) -> "Incoming":
        """Opens the sources' tensors, and the fallback's where it is needed."""
        inputs = list(self._job.all_inputs)
        if any(i.info.entries < self.entries for i in inputs):
            inputs.append(self._job.fallback)
        with ExitStack() as stack:
            self._read = [
                (i.info.entries, stack.enter_context(i.source.weights.opened(i.name)))
                for i in inputs
            ]
            self._open = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()

    @property
    def count(self) -> int:
        """The number of sources."""
        return len(self._job.inputs)

    def block(self, start: int, stop: int) -> Block:
        """Entries start … stop: weights or deltas in float32, until the next block is asked for.
        Raises NonFiniteTensor."""
        job, length = self._job, stop - start
        if self._rows.shape[1] < length:
            self._rows = torch.empty(len(job.all_inputs), length)
        rows = self._rows[:, :length]
        for row, (entries, read) in zip(rows, self._read[: len(rows)], strict=True):
            if entries >= stop:
                read(row, start)
            else:
                self._read_with_fallback(row, start, read, entries)
        if stop > self._checked:
            if not all_finite(rows):
                self._refuse(start, stop)
            if start <= self._checked:
                self._checked = stop
        if job.base is None:
            return Block(start, None, rows.unbind())
        base, sources = rows[0], rows[1:]
        if self._on_deltas:
            sources.sub_(base)
        return Block(start, base, sources.unbind())

    def _read_with_fallback(
        self, row: Float[Tensor, "block"], start: int, read: ReadInto, entries: int
    ) -> None:
        """What a source lacks comes from the fallback."""
        own = max(entries - start, 0)
        if own:
            read(row[:own], start)
        _, fall_back = self._read[-1]
        fall_back(row[own:], start + own)

    def _refuse(self, start: int, stop: int) -> None:
        """Raises NonFiniteTensor with the name of the source that is at fault."""
        for source in self._job.all_inputs:
            end = min(stop, source.info.entries)
            if start < end:
                source.source.weights.read_block(source.name, start, end)
        raise NonFiniteTensor(f"{self._job.name}: a source changes while it is read")


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
