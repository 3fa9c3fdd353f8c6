"""Running a plan: the output of every job, block by block, in its final dtype."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from weightlens.checkpoint.names import place_of
from weightlens.checkpoint.weights import all_finite
from weightlens.delta import Delta, Dense
from weightlens.device import CPU, exact_arithmetic
from weightlens.errors import InputError, NonFiniteTensor, ShapeMismatch
from weightlens.factors import FactorCache
from weightlens.memory import freed_matrices_kept, keep_freed_blocks
from weightlens.merge.incoming import Incoming, whole
from weightlens.merge.job import Input, Job
from weightlens.merge.matrix import MatrixName, MatrixSurgery
from weightlens.merge.plan import Plan
from weightlens.merge.record import MatrixRecord
from weightlens.merge.streaming import CHUNK, Held, Key, Streamed
from weightlens.merge.work import Result, Tell, Work, Workers, single_threaded

BLOCK = CHUNK
"""Entries that are written at a time. The output does not depend on it."""

WrittenBlock = tuple[int, Shaped[Tensor, "block"]]
"""The position of its first entry, and entries in the final dtype."""

Progress = Callable[[int, int, str], None]
"""Told the bytes written, their total, and the name of the tensor that was finished last; after
every tensor, and within large ones."""


class Run:
    """One pass over a plan; collects the records of the matrices that it strips."""

    def __init__(
        self,
        plan: Plan,
        seed: int,
        *,
        cache: FactorCache | None = None,
        device: torch.device = CPU,
    ) -> None:
        """seed: of random draws and subspaces; cache: for the base's factorisations; device: where
        matrices are factorised and stripped."""
        self.plan, self.seed, self.cache, self.device = plan, seed, cache, device
        keep_freed_blocks()
        self._records: dict[str, list[MatrixRecord]] = {}

    @property
    def records(self) -> list[MatrixRecord]:
        """Of the matrices done so far, in the order of the output."""
        return [record for job in self.plan.jobs for record in self.records_of(job)]

    def records_of(self, job: Job) -> list[MatrixRecord]:
        """Of one tensor's matrices."""
        return self._records.get(job.name, [])

    def recall(self, job: Job, notes: Sequence[Any]) -> None:
        """Takes the records of a job that an earlier run has done, as they were journalled."""
        self._records[job.name] = [MatrixRecord.model_validate(note) for note in notes]

    def each(
        self,
        jobs: Sequence[Job],
        workers: Workers,
        put: Callable[[Job, Iterable[WrittenBlock], Tell], Result],
        done: Callable[[Job, Result], None],
        came: Tell = lambda count: None,
        idle: Callable[[], None] = lambda: None,
        alone: Callable[[], None] = lambda: None,
    ) -> None:
        """Does every job: those that stream side by side, those of whole tensors one by one in this
        process with all threads.

        put: takes the output of a job, in a worker, or beside the computation of the next one.
        alone: called before this process goes on without others. The rest: as in Work.
        """
        streams = [job for job in jobs if job.kind != "matrix"]

        def do(job: Job, tell: Tell) -> Result:
            return put(job, self.blocks(job), tell)

        workers.each(Work(streams, lambda job: job.info.nbytes, do, done, came, idle))
        matrices = [job for job in jobs if job.kind == "matrix"]
        if matrices:
            alone()
            self._one_by_one(matrices, put, done, came)

    def _one_by_one(
        self,
        jobs: Sequence[Job],
        put: Callable[[Job, Iterable[WrittenBlock], Tell], Result],
        done: Callable[[Job, Result], None],
        came: Tell,
    ) -> None:
        """Each is computed here while the output of the one before is put where it belongs."""

        def put_whole(job: Job, blocks: Sequence[WrittenBlock]) -> tuple[Job, Result, int]:
            counts: list[int] = []
            return job, put(job, blocks, counts.append), sum(counts)

        def finish(put_there: "Future[tuple[Job, Result, int]]") -> None:
            job, result, count = put_there.result()
            if count:
                came(count)
            done(job, result)

        writing = ThreadPoolExecutor(1, thread_name_prefix="writing")
        with freed_matrices_kept(), exact_arithmetic(), writing as behind:
            last = None
            for job in jobs:
                blocks = list(self.blocks(job))
                if last is not None:
                    finish(last)
                last = behind.submit(put_whole, job, blocks)
            if last is not None:
                finish(last)

    def blocks(self, job: Job) -> Iterator[WrittenBlock]:
        """The output of a job.

        Raises NonFiniteTensor where finite inputs come to NaN or Inf, as in an overflow of float16,
        ShapeMismatch for integers that differ between sources.
        """
        if job.kind == "copy":
            yield 0, _agreed(job)
            return
        for start, block in self._computed(job):
            if not all_finite(block):
                raise NonFiniteTensor(
                    f"{job.name}: the merge holds numbers beyond {job.info.dtype}; "
                    "choose a wider out_dtype or smaller weights"
                )
            yield start, block

    def _computed(self, job: Job) -> Iterator[WrittenBlock]:
        if job.kind == "stream":
            with Incoming(job, self.seed) as tensor:
                yield from _combined(job, tensor)
        elif job.transforms:
            yield 0, self._stripped(job).flatten()
        else:
            held = self._held(job)
            with single_threaded():
                yield from _combined(job, held)

    def _held(self, job: Job) -> Streamed:
        """The tensor with adapters multiplied out; deltas come from the factors alone."""
        base = None if job.base is None else whole(job.base, job)
        if job.method.space(base is not None) == "weights" or base is None:
            return Held(base, [whole(i, job) for i in job.inputs], Key(self.seed, job.name))
        deltas = [_delta(i, job, base).dense() if base.ndim == 2 else whole(i, job) - base
                  for i in job.inputs]  # fmt: skip
        return Held(base, deltas, Key(self.seed, job.name))

    def _stripped(self, job: Job) -> Shaped[Tensor, "..."]:
        """The output of a job with transforms, matrix by matrix where it is a stack of them."""
        assert job.base is not None
        base = whole(job.base, job)
        matrices = [base] if base.ndim == 2 else list(base)
        tensors = [] if base.ndim == 2 else [whole(i, job) for i in job.inputs]
        surgeries, parts = [], []
        for e, matrix in enumerate(matrices):
            deltas: list[Delta] = (
                [_delta(i, job, base) for i in job.inputs]
                if base.ndim == 2
                else [Dense(t[e] - matrix) for t in tensors]
            )
            surgery = self._surgery(job, None if base.ndim == 2 else e, matrix)
            parts.append([
                _oriented(job, surgery.stripped(i.source.label, _oriented_delta(job, d)).dense())
                for i, d in zip(job.inputs, deltas, strict=True)
            ])  # fmt: skip
            surgeries.append(surgery)
        sources = [p[0] if base.ndim == 2 else torch.stack(p) for p in zip(*parts, strict=True)]
        with single_threaded():
            merged = _merged(job, Held(base, sources, Key(self.seed, job.name)))
        written = (merged + base).to(job.info.dtype)
        self._record(job, surgeries, base, merged, written)
        return written

    def _surgery(self, job: Job, expert: int | None, base: Float[Tensor, "m n"]) -> MatrixSurgery:
        place = place_of(job.name)
        name = MatrixName(job.name, place.expert if expert is None else expert, place)
        return MatrixSurgery(
            name,
            _oriented(job, base),
            job.transforms,
            seed=self.seed,
            cache=self.cache,
            device=self.device,
        )

    def _record(
        self,
        job: Job,
        surgeries: Sequence[MatrixSurgery],
        base: Float[Tensor, "*shape"],
        merged: Float[Tensor, "*shape"],
        written: Shaped[Tensor, "*shape"],
    ) -> None:
        rounded = torch.sub(written, base).float()
        if base.ndim == 2:
            merged, rounded = merged.unsqueeze(0), rounded.unsqueeze(0)
        self._records[job.name] = [
            surgery.record(_oriented(job, delta), _oriented(job, as_written))
            for surgery, delta, as_written in zip(surgeries, merged, rounded, strict=True)
        ]


def _combined(job: Job, tensor: Streamed) -> Iterator[WrittenBlock]:
    """The weights of the merge in the final dtype, block by block. Raises InputError where the
    method cannot do with the tensor."""
    gathered = _gathered(job, tensor)
    on_deltas = job.method.space(job.base is not None) == "deltas"
    for block in tensor.blocks(job.method.width(tensor.shape), size=BLOCK):
        result = job.method.combine(block, gathered)
        if on_deltas and block.base is not None:
            # what a method makes of deltas is its own to write into
            result.add_(block.base)
        yield block.start, result.to(job.info.dtype)


def _merged(job: Job, tensor: Streamed) -> Float[Tensor, "*shape"]:
    """The delta of the merge in float32. Raises InputError as `_combined` does."""
    merged = torch.empty(tensor.entries)
    gathered = _gathered(job, tensor)
    for block in tensor.blocks(job.method.width(tensor.shape), size=BLOCK):
        merged[block.start : block.start + len(block)] = job.method.combine(block, gathered)
    return merged.reshape(tensor.shape)


def _gathered(job: Job, tensor: Streamed) -> Any:
    try:
        return job.method.gather(tensor)
    except ValueError as error:
        raise InputError(f"{job.name}: {error}") from error


def _delta(source: Input, job: Job, base: Float[Tensor, "m n"]) -> Delta:
    assert job.base is not None
    model, below = source.source.model, job.base.source.weights
    # beside another layer, or the base of one slice, factors are not all of the delta
    other = model.weights is None and source.source.weights is not below
    if source.info.shape != job.info.shape or source.name != job.base.name or other:
        return Dense(whole(source, job) - base)
    found = model.delta(source.name, below, base)
    return found if found is not None else Dense(torch.zeros_like(base))


def _oriented(job: Job, matrix: Float[Tensor, "m n"]) -> Float[Tensor, "..."]:
    """Outputs x inputs, or back, for a matrix that is stored the other way."""
    assert job.base is not None
    return matrix.T if job.base.name in job.base.source.weights.transposed else matrix


def _oriented_delta(job: Job, delta: Delta) -> Delta:
    assert job.base is not None
    return delta.transposed() if job.base.name in job.base.source.weights.transposed else delta


def _agreed(job: Job) -> Shaped[Tensor, "block"]:
    """The integers that all sources have. Raises ShapeMismatch where they differ."""
    first, *others = job.all_inputs
    tensor = first.source.weights.stored(first.name)
    for other in others:
        if not torch.equal(tensor, other.source.weights.stored(other.name)):
            raise ShapeMismatch(
                f"{job.name}: integers that differ between {first.source.label} and "
                f"{other.source.label} cannot be merged"
            )
    return tensor.flatten()
