"""What a checkpoint holds, in torch's terms: shapes, dtypes and places of its tensors."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from weightlens.checkpoint import header

DTYPES: dict[str, torch.dtype] = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2, "F8_E8M0": torch.float8_e8m0fnu,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8,
    "U64": torch.uint64, "U32": torch.uint32, "U16": torch.uint16, "U8": torch.uint8,
    "BOOL": torch.bool,
}  # fmt: skip
"""safetensors' names of the dtypes."""

DTYPE_NAMES: dict[torch.dtype, str] = {dtype: name for name, dtype in DTYPES.items()}


@dataclass(frozen=True)
class TensorInfo:
    """Shape and dtype of one tensor."""

    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def entries(self) -> int:
        """Number of entries."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return self.entries * self.dtype.itemsize


@dataclass(frozen=True)
class StoredTensor:
    """Where a tensor lies on disk: its file, and the offset of its first byte there."""

    info: TensorInfo
    file: Path
    offset: int


def scan_folder(folder: Path) -> dict[str, StoredTensor]:
    """Every tensor of a checkpoint folder; raises what `header.scan_folder` raises."""
    return _in_torch(header.scan_folder(folder))


def read_header(file: Path) -> dict[str, StoredTensor]:
    """The tensors of one safetensors file; raises what `header.read_header` raises."""
    return _in_torch(header.read_header(file))


def _in_torch(entries: Mapping[str, header.Entry]) -> dict[str, StoredTensor]:
    return {
        name: StoredTensor(TensorInfo(e.shape, DTYPES[e.dtype]), e.file, e.offset)
        for name, e in entries.items()
    }
