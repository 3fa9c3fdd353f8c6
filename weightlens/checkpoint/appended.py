"""A safetensors file whose tensors come one after the other, of shapes that nobody knows before.

The header lies in front of the tensors and says their shapes, so room is kept for it at the start.
It is written last, and what is left of the room is filled with spaces, as the format allows.
"""

import json
import os
import struct
from collections.abc import Iterable
from pathlib import Path

import torch
import xxhash
from jaxtyping import Shaped
from torch import Tensor

from weightlens.checkpoint.layout import TensorInfo
from weightlens.checkpoint.shards import Shard, header_of

_LENGTH = 8
"""Bytes at the very start that say how long the header is."""

_ENTRY = 256
"""More bytes than an entry of the header takes beside its name."""

_READ_BYTES = 1 << 22
"""Read at a time where a file is checked."""


class AppendedFile:
    """Grows by one tensor at a time, and is a safetensors file once it is finished.

    checksums: the xxh3-128 of every tensor in it, by name.
    """

    def __init__(self, file: Path, keys: Iterable[str]) -> None:
        """keys: every name that may come. Opens the file, which must not be there."""
        self.path = file
        room = sum(len(json.dumps(key)) + _ENTRY for key in keys) + _ENTRY
        self._start = _LENGTH + room + -room % 8  # tensors lie at multiples of 8
        self._end = self._start
        self._infos: dict[str, TensorInfo] = {}
        self.checksums: dict[str, str] = {}
        self._file = os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)

    @property
    def tensors(self) -> int:
        """How many are in it."""
        return len(self._infos)

    @property
    def nbytes(self) -> int:
        """Size of the tensors in it."""
        return self._end - self._start

    def append(self, key: str, tensor: Shaped[Tensor, "..."]) -> None:
        """Writes a tensor behind the others. All have one dtype, so that each lies aligned."""
        assert key not in self._infos, key
        raw = memoryview(tensor.contiguous().flatten().view(torch.uint8).numpy().data)
        self._write(raw, at=self._end)
        self._end += len(raw)
        self._infos[key] = TensorInfo(tuple(tensor.shape), tensor.dtype)
        self.checksums[key] = xxhash.xxh3_128_hexdigest(raw)

    def differing(self) -> str | None:
        """The first tensor that the disk does not hold as it was written; None where all are."""
        os.fdatasync(self._file)
        os.posix_fadvise(self._file, 0, 0, os.POSIX_FADV_DONTNEED)  # not from memory
        at = self._start
        for key, info in self._infos.items():
            digest, end = xxhash.xxh3_128(), at + info.nbytes
            while at < end and (chunk := os.pread(self._file, min(end - at, _READ_BYTES), at)):
                digest.update(chunk)
                at += len(chunk)
            if digest.hexdigest() != self.checksums[key]:
                return key
        return None

    def finish(self) -> None:
        """Writes the header; nothing comes after."""
        shard = Shard(self.path.name, tuple(self._infos))
        header = header_of(shard, self._infos)[_LENGTH:]
        room = self._start - _LENGTH
        assert len(header) <= room, "more tensors than were announced"
        self._write(memoryview(struct.pack("<Q", room) + header.ljust(room)), at=0)

    def close(self) -> None:
        """Closes the file, finished or not."""
        os.close(self._file)

    def _write(self, raw: memoryview, *, at: int) -> None:
        done = 0
        while done < len(raw):
            done += os.pwrite(self._file, raw[done:], at + done)
