"""Writing what a run comes to: workers write blocks into the files, and this process, which hears
of every tensor from them, keeps the journal and shows how far it is."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from weightlens.checkpoint.digests import Piece, ReadDigests
from weightlens.checkpoint.write import CheckpointWriter
from weightlens.merge.job import Job
from weightlens.merge.processes import workers_here
from weightlens.merge.running import Progress, Run, WrittenBlock
from weightlens.merge.work import Tell, Workers

TOLD_BYTES = 1 << 24
"""What a worker writes before it tells of it."""


@dataclass(frozen=True)
class _Written:
    """What a worker has to tell of a tensor. untold: bytes since it told the last time; read: the
    digests of what it has read."""

    digest: str
    notes: list[Any]
    untold: int
    read: dict[Piece, bytes]


class Writing:
    """One run into one writer. digests: learns those of all tensors that are read in full."""

    def __init__(
        self, run: Run, writer: CheckpointWriter, digests: ReadDigests, workers: int | None
    ) -> None:
        """workers: how many; as many as there are processors where none is given."""
        self._run, self._writer, self._digests, self._count = run, writer, digests, workers

    def write(
        self, progress: Progress, idle: Callable[[], None], alone: Callable[[], None]
    ) -> None:
        """Writes the output of every job that no earlier run has finished. idle, alone: as in
        Options."""
        run, finished = self._run, self._writer.finished
        for job in run.plan.jobs:
            if job.name in finished:
                run.recall(job, finished[job.name])
        left = [job for job in run.plan.jobs if job.name not in finished]
        total, last = run.plan.bytes_written, ""
        so_far = total - sum(job.info.nbytes for job in left)

        def came(count: int) -> None:
            nonlocal so_far
            so_far += count
            self._writer.wrote(count)
            progress(so_far, total, last)

        def done(job: Job, written: _Written) -> None:
            nonlocal last
            last = job.name
            self._digests.learn(written.read)
            self._writer.finish(job.name, written.digest, written.notes)
            came(written.untold)

        progress(so_far, total, last)
        # not before: what is called there may have begun threads
        workers = workers_here(self._count)

        def put(job: Job, blocks: Iterable[WrittenBlock], tell: Tell) -> _Written:
            return self._write_one(job, blocks, tell, workers)

        run.each(left, workers, put, done, came, idle, alone)

    def _write_one(
        self, job: Job, blocks: Iterable[WrittenBlock], tell: Tell, workers: Workers
    ) -> _Written:
        untold = 0
        for start, block in blocks:
            workers.check()
            self._writer.write(job.name, block, start=start)
            untold += block.nbytes
            if untold >= TOLD_BYTES:
                tell(untold)
                untold = 0
        notes = [record.model_dump() for record in self._run.records_of(job)]
        return _Written(self._writer.digest(job.name), notes, untold, self._digests.news())
