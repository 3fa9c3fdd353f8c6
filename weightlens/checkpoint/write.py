"""Writing checkpoints: headers first, then every tensor at its own offset, in any order.

Everything goes into `OUT.partial`, which becomes OUT by one rename at the very end, so that OUT is
whole or absent. Shards are allocated in full before the first byte of weights, so that a disk that
is too small is found at once.
"""

import errno
import fcntl
import json
import os
import shutil
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import torch
from jaxtyping import Shaped
from torch import Tensor

from weightlens.checkpoint.header import INDEX_FILE, SINGLE_FILE
from weightlens.checkpoint.layout import DTYPE_NAMES, TensorInfo
from weightlens.errors import OutputError

SHARD_BYTES = 5_000_000_000
PROVENANCE_FILE = "weightlens.json"
"""Lies beside the weights of every merge: how it was made."""

MARKER = ".weightlens-partial"
"""Lies in a folder that a run is filling; only folders with it are ever cleared away."""


@dataclass(frozen=True)
class Shard:
    """One output file: its name and the tensors in it, in order."""

    file: str
    tensors: tuple[str, ...]


def plan_shards(infos: Mapping[str, TensorInfo], *, limit: int = SHARD_BYTES) -> list[Shard]:
    """Tensors in order, each shard up to `limit` bytes; names as transformers gives them."""
    groups: list[list[str]] = [[]]
    size = 0
    for name, info in infos.items():
        if groups[-1] and size + info.nbytes > limit:
            groups.append([])
            size = 0
        groups[-1].append(name)
        size += info.nbytes
    if len(groups) == 1:
        return [Shard(SINGLE_FILE, tuple(groups[0]))]
    return [
        Shard(f"model-{i:05d}-of-{len(groups):05d}.safetensors", tuple(group))
        for i, group in enumerate(groups, start=1)
    ]


class CheckpointWriter:
    """Fills `OUT.partial` and renames it to OUT on a clean exit; removes it on an exception.

    Used as a context manager; `folder` is the partial folder, for what lies beside the weights.
    """

    def __init__(
        self, out: Path, infos: Mapping[str, TensorInfo], *, overwrite: bool = False
    ) -> None:
        """Raises OutputError where OUT holds something and overwrite is not set."""
        check_output(out, overwrite=overwrite)
        self.out, self._infos = out.resolve(), dict(infos)
        self.folder = self.out.with_name(self.out.name + ".partial")
        self._lock: int | None = None
        self._files: dict[str, int] = {}
        self._offsets: dict[str, tuple[int, int]] = {}
        self._pending = {name: info.nbytes for name, info in self._infos.items()}
        self._shards = plan_shards(self._infos)

    def __enter__(self) -> "CheckpointWriter":
        """Allocates every shard and writes the headers.

        Raises OutputError where another run is filling the same folder, or something else is.
        """
        if self.folder.exists():
            self._clear_stale()
        try:
            self.folder.mkdir(parents=True)
            self._lock = os.open(self.folder / MARKER, os.O_RDWR | os.O_CREAT, 0o644)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for shard in self._shards:
                self._open(shard)
        except OSError as error:
            self._abandon()
            raise self._explained(error) from error
        return self

    def _clear_stale(self) -> None:
        """Removes what a killed run of ours left behind; its lock died with it."""
        marker = self.folder / MARKER
        if not marker.exists():
            raise OutputError(f"{self.folder}: exists and is not ours; move it away")
        lock = os.open(marker, os.O_RDWR)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OutputError(f"{self.out}: another run is filling it") from None
        finally:
            os.close(lock)
        shutil.rmtree(self.folder)

    def _open(self, shard: Shard) -> None:
        header: dict[str, object] = {"__metadata__": {"format": "pt"}}
        end = 0
        for name in shard.tensors:
            info = self._infos[name]
            start, end = end, end + info.nbytes
            header[name] = {
                "dtype": DTYPE_NAMES[info.dtype],
                "shape": list(info.shape),
                "data_offsets": [start, end],
            }
        raw = json.dumps(header, separators=(",", ":")).encode()
        raw += b" " * (-len(raw) % 8)
        file = os.open(self.folder / shard.file, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
        self._files[shard.file] = file
        os.posix_fallocate(file, 0, 8 + len(raw) + end)
        os.pwrite(file, struct.pack("<Q", len(raw)) + raw, 0)
        place = 8 + len(raw)
        for name in shard.tensors:
            self._offsets[name] = (file, place)
            place += self._infos[name].nbytes

    def write(self, name: str, tensor: Shaped[Tensor, "..."], *, start: int = 0) -> None:
        """Writes a tensor, or the block of its flattened entries that begins at `start`.

        It must have the planned dtype already: there is one cast, and it is the caller's.
        Raises OutputError where the disk is full.
        """
        info = self._infos[name]
        assert tensor.dtype == info.dtype, (name, tensor.dtype, info.dtype)
        raw = memoryview(tensor.contiguous().flatten().view(torch.uint8).numpy().data)
        file, place = self._offsets[name]
        done = 0
        while done < len(raw):
            done += os.pwrite(file, raw[done:], place + start * info.dtype.itemsize + done)
        self._pending[name] -= len(raw)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Index last, then one rename; nothing of it while an exception passes."""
        if error is not None:
            self._abandon()
            if isinstance(error, OSError):
                raise self._explained(error) from error
            return
        unwritten = [name for name, left in self._pending.items() if left]
        assert not unwritten, f"never written: {unwritten[:3]}"
        try:
            self._finish()
        except OSError as failure:
            self._abandon()
            raise self._explained(failure) from failure

    def _finish(self) -> None:
        for file in self._files.values():
            os.fsync(file)
        if len(self._shards) > 1:
            total = sum(info.nbytes for info in self._infos.values())
            weight_map = {name: s.file for s in self._shards for name in s.tensors}
            index = {"metadata": {"total_size": total}, "weight_map": weight_map}
            (self.folder / INDEX_FILE).write_text(json.dumps(index, indent=2) + "\n")
        if self.out.exists() and any(self.out.iterdir()):
            old = self.out.with_name(self.out.name + ".replaced")
            self.out.rename(old)
            self.folder.rename(self.out)
            shutil.rmtree(old)
        else:
            self.folder.rename(self.out)
        (self.out / MARKER).unlink()
        self._close()

    def _close(self) -> None:
        for file in self._files.values():
            os.close(file)
        self._files.clear()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _abandon(self) -> None:
        self._close()
        if (self.folder / MARKER).exists():
            shutil.rmtree(self.folder, ignore_errors=True)

    def _explained(self, error: OSError) -> OutputError:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            needed = sum(info.nbytes for info in self._infos.values())
            return OutputError(
                f"{self.out}: the disk is full ({needed / 1e9:.3g} GB needed); the partial output "
                "was removed, free some space and run again"
            )
        return OutputError(f"{self.out}: cannot be written ({error.strerror}: {error.filename})")


def check_output(out: Path, *, overwrite: bool, sources: Sequence[Path] = ()) -> None:
    """Raises OutputError unless OUT is new, an empty folder, or an earlier merge to be replaced.

    sources: folders that are read; replacing one of them is refused.
    """
    try:
        place = out.resolve()
        if place.is_mount():
            raise OutputError(f"{out}: is a mount point; choose a new folder below it")
        if place.exists() and not place.is_dir():
            raise OutputError(f"{out}: exists and is a file")
        occupied = place.exists() and any(place.iterdir())
    except OSError as error:
        raise OutputError(f"{out}: cannot be used ({error.strerror})") from error
    if not occupied:
        return
    if not overwrite:
        raise OutputError(f"{out}: exists and is not empty; choose another or --overwrite")
    if not (place / PROVENANCE_FILE).is_file():
        raise OutputError(
            f"{out}: is no earlier merge (no {PROVENANCE_FILE} in it), so it is not overwritten"
        )
    for source in sources:
        if place in (source.resolve(), *source.resolve().parents):
            raise OutputError(f"{out}: holds the source {source}, so it is not overwritten")
    if place.with_name(place.name + ".replaced").exists():
        raise OutputError(f"{place.name}.replaced: is in the way of --overwrite; move it away")
