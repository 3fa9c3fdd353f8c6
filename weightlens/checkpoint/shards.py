"""The shards of an output: which tensor lies where, and the open files."""

import json
import os
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import xxhash

from weightlens.checkpoint.header import INDEX_FILE, SINGLE_FILE
from weightlens.checkpoint.layout import DTYPE_NAMES, TensorInfo

SHARD_BYTES = 5_000_000_000
_READ_BYTES = 1 << 24


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


def header_of(shard: Shard, infos: Mapping[str, TensorInfo]) -> bytes:
    """The first bytes of a shard, up to its first tensor."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name in shard.tensors:
        info = infos[name]
        start, end = end, end + info.nbytes
        header[name] = {
            "dtype": DTYPE_NAMES[info.dtype],
            "shape": list(info.shape),
            "data_offsets": [start, end],
        }
    raw = json.dumps(header, separators=(",", ":")).encode()
    raw += b" " * (-len(raw) % 8)
    return struct.pack("<Q", len(raw)) + raw


class ShardFiles:
    """The files of all shards, open; every tensor has its place in them from the start."""

    def __init__(
        self, folder: Path, shards: Sequence[Shard], infos: Mapping[str, TensorInfo]
    ) -> None:
        """Opens nothing yet."""
        self.folder, self.shards, self._infos = folder, shards, infos
        self._files: list[int] = []
        self._places: dict[str, tuple[int, int]] = {}

    def open(self) -> None:
        """Allocates every shard and writes its header, but for those that are there with the right
        size and header."""
        for shard in self.shards:
            header = header_of(shard, self._infos)
            size = len(header) + sum(self._infos[name].nbytes for name in shard.tensors)
            file = os.open(self.folder / shard.file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
            self._files.append(file)
            if os.fstat(file).st_size != size or os.pread(file, len(header), 0) != header:
                os.ftruncate(file, 0)
                os.posix_fallocate(file, 0, size)
                os.pwrite(file, header, 0)
            place = len(header)
            for name in shard.tensors:
                self._places[name] = (file, place)
                place += self._infos[name].nbytes

    def write(self, name: str, raw: memoryview, *, at: int) -> None:
        """Writes bytes of a tensor from its byte `at` on."""
        file, place = self._places[name]
        done = 0
        while done < len(raw):
            done += os.pwrite(file, raw[done:], place + at + done)

    def digest(self, name: str) -> str:
        """The xxh3-128 of a tensor's bytes as they are in the file."""
        digest = xxhash.xxh3_128()
        file, place = self._places[name]
        left = self._infos[name].nbytes
        while left and (chunk := os.pread(file, min(left, _READ_BYTES), place)):
            digest.update(chunk)
            place, left = place + len(chunk), left - len(chunk)
        return digest.hexdigest()

    def sync(self) -> None:
        """Brings what was written to the disk."""
        for file in self._files:
            os.fdatasync(file)

    def forget(self) -> None:
        """Has what is read from now on come from the disk, not from memory."""
        self.sync()
        for file in self._files:
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)

    def write_index(self) -> None:
        """The index, where there are several shards."""
        if len(self.shards) > 1:
            total = sum(info.nbytes for info in self._infos.values())
            weight_map = {name: shard.file for shard in self.shards for name in shard.tensors}
            index = {"metadata": {"total_size": total}, "weight_map": weight_map}
            (self.folder / INDEX_FILE).write_text(json.dumps(index, indent=2) + "\n")

    def close(self) -> None:
        """Closes the files."""
        for file in self._files:
            os.close(file)
        self._files.clear()
