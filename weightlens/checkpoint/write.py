"""Writing checkpoints: headers first, then every tensor at its own offset, in any order.

Everything goes into `OUT.partial`, which becomes OUT by one rename at the very end, so that OUT is
whole or absent. Shards are allocated in full before the first byte of weights, so that a disk that
is too small is found at once. Finished tensors are journalled, and a run that was killed is gone on
with by the next one.
"""

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
import xxhash
from jaxtyping import Shaped
from torch import Tensor

from weightlens.checkpoint.journal import Journal
from weightlens.checkpoint.layout import TensorInfo
from weightlens.checkpoint.output import check_output, unwritable
from weightlens.checkpoint.partial import JOURNAL, PartialFolder
from weightlens.checkpoint.shards import ShardFiles, plan_shards
from weightlens.checkpoint.syncing import Syncing
from weightlens.errors import OutputError, ReadFailed, WeightlensError


class CheckpointWriter:
    """Fills `OUT.partial` and renames it to OUT on a clean exit.

    Used as a context manager; `folder` is the partial folder, for what lies beside the weights.
    plan: a hash of everything that the output depends on. An error in the input removes the folder;
    whatever else ends the run keeps what is finished, and a writer with the same plan goes on from
    there: `finished` has the notes of each tensor that need not be written again. fresh: starts
    anew in any case. sync: the output gets its name when it is on the disk; without, a loss of
    power can damage it, a kill cannot.
    """

    def __init__(
        self,
        out: Path,
        infos: Mapping[str, TensorInfo],
        *,
        plan: str,
        overwrite: bool = False,
        fresh: bool = False,
        sync: bool = True,
    ) -> None:
        """Raises OutputError where OUT holds something and overwrite is not set."""
        check_output(out, overwrite=overwrite)
        self.out, self._infos = out.resolve(), dict(infos)
        self.finished: dict[str, Any] = {}
        self._overwrite, self._plan, self._fresh = overwrite, plan, fresh
        self._partial = PartialFolder(self.out)
        self.folder = self._partial.path
        self._journal: Journal | None = None
        self._files = ShardFiles(self.folder, plan_shards(self._infos), self._infos)
        self._pending = {name: info.nbytes for name, info in self._infos.items()}
        self._digests: dict[str, xxhash.xxh3_128] = {}
        self._syncing = Syncing(self._sync) if sync else None

    def __enter__(self) -> "CheckpointWriter":
        """Allocates every shard and writes the headers, or finds them, and what is finished.

        Raises OutputError where another run is filling the same folder, or something else is, or
        where tensors of another plan are in it.
        """
        try:
            self._journal = self._partial.claim(
                overwrite=self._overwrite, plan=self._plan, fresh=self._fresh
            )
            self._begin(self._journal)
        except BaseException as error:
            self._leave(error)
            raise
        return self

    def _begin(self, journal: Journal) -> None:
        if journal.plan == self._plan and not self._fresh:
            self._partial.clear(keep=[JOURNAL, *(shard.file for shard in self._files.shards)])
            journal.resume()
        else:
            self._partial.clear()
            journal.begin(self._plan)
        self._files.open()
        self._find_finished(journal)

    def _find_finished(self, journal: Journal) -> None:
        """Believes the journal only as far as the disk bears it out: after a loss of power what
        was written before a line may be missing."""
        for name, done in journal.finished.items():
            if name in self._infos and self._files.digest(name) == done.digest:
                self.finished[name] = done.notes
                self._pending[name] = 0

    def write(self, name: str, tensor: Shaped[Tensor, "..."], *, start: int = 0) -> None:
        """Writes a tensor, or the block of its flattened entries that begins at `start`.

        It must have the planned dtype already: there is one cast, and it is the caller's. The
        blocks of one tensor come in order; different tensors may come from different threads, or
        from processes that were forked since. Raises OutputError where the disk is
        full.
        """
        info = self._infos[name]
        assert tensor.dtype == info.dtype, (name, tensor.dtype, info.dtype)
        raw = memoryview(tensor.contiguous().flatten().view(torch.uint8).numpy().data)
        at = start * info.dtype.itemsize
        assert at == info.nbytes - self._pending[name], f"{name}: blocks out of order"
        self._digests.setdefault(name, xxhash.xxh3_128()).update(raw)
        self._files.write(name, raw, at=at)
        self._pending[name] -= len(raw)

    def wrote(self, count: int) -> None:
        """Told of bytes that were written, by whichever process, brings them to the disk meanwhile.
        Raises OSError where that fails."""
        if self._syncing is not None:
            self._syncing.wrote(count)

    def digest(self, name: str) -> str:
        """The xxh3-128 of a tensor that this process has written in full."""
        assert not self._pending[name], f"{name}: not written in full"
        return (self._digests.pop(name, None) or xxhash.xxh3_128()).hexdigest()

    def _sync(self) -> None:
        self._files.sync()
        self._begun.sync()

    def finish(self, name: str, digest: str, notes: Any = None) -> None:
        """Takes it that a tensor is written in full, by whichever process, and journals it. digest:
        what `digest` told there; notes: JSON, for `finished` of a later run."""
        self._pending[name] = 0
        self._begun.append(name, digest, notes)

    @property
    def _begun(self) -> Journal:
        assert self._journal is not None, "outside of its `with`"
        return self._journal

    @property
    def checksums(self) -> dict[str, str]:
        """The xxh3-128 of every finished tensor, in the order of the output."""
        done = self._begun.finished
        return {name: done[name].digest for name in self._infos if name in done}

    def verify(self) -> None:
        """Reads every tensor back from the disk.

        Raises OutputError where one is not what was written; the next run writes it again.
        """
        self._files.forget()
        for name in self._infos:
            if self._files.digest(name) != self._begun.finished[name].digest:
                raise OutputError(
                    f"{self.folder}: {name} is not on the disk as it was written; run the same "
                    "command again, which writes it anew, and look after the disk"
                )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Index last, then one rename; nothing of it while an exception passes."""
        if error is not None:
            self._leave(error)
            return
        try:
            unwritten = [name for name, left in self._pending.items() if left]
            assert not unwritten, f"never written: {unwritten[:3]}"
            self._files.write_index()
            if self._syncing is not None:
                self._syncing.finish()
            self._partial.publish(sync=self._syncing is not None)
        except BaseException as failure:
            self._leave(failure)
            raise
        self._close()
        self._partial.release()

    def _leave(self, error: BaseException) -> None:
        """Ends without an output; raises what the user is to read instead of the error."""
        done = len(self._journal.finished) if self._journal is not None else 0
        ours = isinstance(error, WeightlensError)
        at_fault = ours and not isinstance(error, OutputError | ReadFailed)
        kept = done > 0 and not at_fault and self.folder.exists()
        self._close()
        removed = not kept and self._partial.is_held
        if removed:
            self._partial.remove()
        self._partial.release()
        if isinstance(error, OSError):
            raise unwritable(
                self.out,
                error,
                "run the same command again: it goes on where it stopped" if kept
                else f"run again{': the partial output was removed' * removed}",
                needed=sum(info.nbytes for info in self._infos.values()),
            ) from error  # fmt: skip
        if isinstance(error, KeyboardInterrupt) and kept:
            raise KeyboardInterrupt(
                f"interrupted; {done} of {len(self._infos)} tensors are in {self.folder}: "
                "the same command goes on from there"
            ) from error

    def _close(self) -> None:
        if self._syncing is not None:
            self._syncing.close()
        self._files.close()
        if self._journal is not None:
            self._journal.close()
