"""What a checkpoint holds, read from safetensors headers alone; needs no torch, so it is quick.

A safetensors file is an 8-byte little-endian length, a JSON header of that length, and the tensors'
bytes. Every number in the header is checked against the file before anything is allocated.
"""

import json
import math
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from weightlens.errors import CheckpointError, ReadFailed, UnsupportedTensor

T = TypeVar("T")

SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
MAX_HEADER_BYTES = 100_000_000
"""As in the reference implementation."""

DTYPE_BYTES: dict[str, int] = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1,
    "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U64": 8, "U32": 4, "U16": 2, "U8": 1, "BOOL": 1,
}  # fmt: skip
"""Bytes an entry, by safetensors' names of the dtypes."""

_DAMAGED = (ValueError, KeyError, AttributeError, TypeError, OverflowError, RecursionError)
"""What reading a header or index raises where it is not what it should be."""


@dataclass(frozen=True)
class Entry:
    """One tensor in a file: what it is, and the offset of its first byte."""

    dtype: str
    shape: tuple[int, ...]
    file: Path
    offset: int

    @property
    def entries(self) -> int:
        """Number of entries."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return self.entries * DTYPE_BYTES[self.dtype]


def scan_folder(folder: Path) -> dict[str, Entry]:
    """Every tensor of a checkpoint folder: one safetensors file, or shards with an index.

    Raises CheckpointError for a folder without weights, a missing or damaged shard, an index that
    names files outside the folder or tensors that are not where it says.
    """
    if (folder / INDEX_FILE).is_file():
        return scan_shards(folder / INDEX_FILE, read_header)
    if (folder / SINGLE_FILE).is_file():
        return read_header(folder / SINGLE_FILE)
    others = sorted(folder.glob("*.safetensors"))
    if len(others) == 1:
        return read_header(others[0])
    if others:
        names = ", ".join(p.name for p in others[:3])
        raise CheckpointError(f"{folder}: several safetensors files ({names} …) and no index")
    pickles = any(folder.glob("*.bin")) or any(folder.glob("*.pt"))
    hint = "; it has pickled weights: convert them to safetensors first" if pickles else ""
    raise CheckpointError(f"{folder}: no safetensors weights in this folder{hint}")


def scan_shards(index: Path, read: Callable[[Path], Mapping[str, T]]) -> dict[str, T]:
    """What an index lists, in its order, out of the shards beside it.

    read: what a shard holds, by name. Raises CheckpointError for a damaged index, a shard that is
    missing or outside the folder, and a tensor that is not where the index says.
    """
    try:
        weight_map = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        shards = {str(name): str(shard) for name, shard in weight_map.items()}
    except (OSError, *_DAMAGED) as error:
        raise CheckpointError(f"{index}: not an index of shards ({error})") from error
    folder, held = index.parent, {}
    for shard in sorted(set(shards.values())):
        if Path(shard).name != shard:
            raise CheckpointError(f"{index}: shard {shard!r} lies outside the folder")
        if not (folder / shard).is_file():
            raise CheckpointError(f"{folder}: shard {shard} is missing; the index names it")
        held[shard] = read(folder / shard)
    for name, shard in shards.items():
        if name not in held[shard]:
            raise CheckpointError(
                f"{folder / shard}: tensor {name} is not in it; the index says so"
            )
    return {name: held[shard][name] for name, shard in shards.items()}


def _raw_header(file: Path) -> tuple[bytes, int]:
    """The header's JSON, and the size of the file."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        prefix = stream.read(8)
        if len(prefix) < 8:
            raise CheckpointError(f"{file}: truncated: {size} bytes are no safetensors file")
        (length,) = struct.unpack("<Q", prefix)
        if length > min(MAX_HEADER_BYTES, size - 8):
            raise CheckpointError(f"{file}: truncated or damaged: a header of {length} bytes")
        return stream.read(length), size


def read_header(file: Path) -> dict[str, Entry]:
    """The tensors of one safetensors file, in the order in which they lie on disk.

    Raises CheckpointError where the header contradicts itself or the file's size, ReadFailed where
    the file cannot be read.
    """
    try:
        raw, size = _raw_header(file)
    except OSError as error:
        raise ReadFailed(f"{file}: cannot be read ({error.strerror})") from error
    try:
        header = json.loads(raw)
        header.pop("__metadata__", None)
        entries = {
            name: (str(e["dtype"]), tuple(map(int, e["shape"])), tuple(map(int, e["data_offsets"])))
            for name, e in header.items()
        }
    except (
        ValueError,
        KeyError,
        AttributeError,
        TypeError,
        OverflowError,
        RecursionError,
    ) as error:
        raise CheckpointError(f"{file}: damaged header ({error})") from error
    return _placed(file, entries, first=8 + len(raw), size=size)


def _placed(
    file: Path,
    entries: dict[str, tuple[str, tuple[int, ...], tuple[int, ...]]],
    *,
    first: int,
    size: int,
) -> dict[str, Entry]:
    placed: dict[str, Entry] = {}
    expected = 0
    for name, (dtype, shape, offsets) in sorted(entries.items(), key=lambda item: item[1][2]):
        if dtype not in DTYPE_BYTES:
            raise UnsupportedTensor(f"{file}: {name} has dtype {dtype}, which cannot be read here")
        entry = Entry(dtype, shape, file, first + expected)
        if (
            len(offsets) != 2
            or offsets != (expected, expected + entry.nbytes)
            or min(shape, default=0) < 0
        ):
            raise CheckpointError(f"{file}: {name}: shape {list(shape)} of {dtype} does not fit "
                                  f"its place in the file, {list(offsets)}")  # fmt: skip
        placed[name] = entry
        expected = offsets[1]
    if first + expected != size:
        state = "truncated" if size < first + expected else "followed by stray bytes"
        raise CheckpointError(f"{file}: {state}: {size} bytes, its header says {first + expected}")
    return placed
