"""Reading tensors one at a time, from a folder or from a state dict, behind one interface."""

import math
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from jaxtyping import Float, Shaped, UInt8
from torch import Tensor

from weightlens.checkpoint.config import block_size, read_config
from weightlens.checkpoint.digests import Piece, ReadDigests
from weightlens.checkpoint.layout import StoredTensor, TensorInfo, scan_folder
from weightlens.checkpoint.names import tied_to, with_prefix
from weightlens.checkpoint.orientation import transposed_names
from weightlens.checkpoint.scaled import (
    check_not_packed,
    find_scales,
    hidden_names,
    scaled_block,
)
from weightlens.checkpoint.staging import staging
from weightlens.errors import CheckpointError, NonFiniteTensor, TensorMissing, UnsupportedTensor


class Weights(ABC):
    """Named tensors whose shapes are known before any is read."""

    label: str
    folder: Path | None = None
    """Where config.json and the weights lie; None for a state dict and for sums."""
    read_as: torch.dtype | None = None
    """The type that tensors are rounded to as they are read; None for as stored."""
    transposed: frozenset[str] = frozenset()
    """Names of the matrices that are stored as inputs x outputs (GPT-2's Conv1D)."""
    scaled: frozenset[str] = frozenset()
    """Names of the tensors that are stored in 8-bit floats with scales. They read as the product,
    and `stored` gives it in bfloat16: the rounding of that type is not the checkpoint's."""
    config: Mapping[str, Any] = MappingProxyType({})
    """What config.json says; empty for a state dict."""
    digests: ReadDigests | None = None
    """Where what is read from files is hashed on the way."""

    @property
    @abstractmethod
    def infos(self) -> Mapping[str, TensorInfo]:
        """Shape and dtype by name, in the checkpoint's order."""

    @abstractmethod
    def stored(self, name: str) -> Shaped[Tensor, "..."]:
        """A tensor as stored. Raises TensorMissing for an unknown name."""

    @abstractmethod
    def stored_block(self, name: str, start: int, stop: int) -> Shaped[Tensor, "block"]:
        """Entries start … stop of the flattened tensor as stored, in memory of its own."""

    def read(self, name: str) -> Float[Tensor, "..."]:
        """A tensor in float32.

        Raises NonFiniteTensor where it holds NaN or Inf, UnsupportedTensor where it holds integers.
        """
        return self.checked(name, self.stored(name))

    def read_block(self, name: str, start: int, stop: int) -> Float[Tensor, "block"]:
        """Entries start … stop of the flattened tensor in float32, in memory of its own;
        raises like `read`."""
        return self.checked(name, self.stored_block(name, start, stop))

    def read_into(self, out: Float[Tensor, "block"], name: str, start: int) -> None:
        """Fills `out` with the entries from `start` on that `read_block` gives, without looking for
        NaN and Inf."""
        out.copy_(self.read_block(name, start, start + out.numel()))

    def checked(self, name: str, stored: Shaped[Tensor, "..."]) -> Float[Tensor, "..."]:
        """What `read` makes of a tensor as stored: the very tensor where that is float32."""
        self._check_dtype(name, stored.dtype)
        tensor = self._as_read(stored)
        if not all_finite(tensor):
            if all_finite(stored):
                raise NonFiniteTensor(
                    f"{self.label}: {name} holds numbers beyond {self.read_as or torch.float32}; "
                    "choose a wider dtype"
                )
            kind = "NaN" if torch.isnan(tensor).any() else "Inf"
            raise NonFiniteTensor(f"{self.label}: {name} holds {kind}; a merge would spread it")
        return tensor

    def _check_dtype(self, name: str, dtype: torch.dtype) -> None:
        if not dtype.is_floating_point:
            raise UnsupportedTensor(
                f"{self.label}: {name} is {dtype}; only floating-point weights are measured "
                "or merged (quantised checkpoints must be dequantised first)"
            )
        if dtype.itemsize == 1:
            raise UnsupportedTensor(
                f"{self.label}: {name} is {dtype} and means nothing without its scales; "
                "dequantise the checkpoint first"
            )

    def _as_read(self, stored: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        return (stored if self.read_as is None else stored.to(self.read_as)).float()

    def _own_name(self, name: str) -> str:
        """The name under which a tensor is stored here: its own, or that of its tied partner."""
        if name in self.infos:
            return name
        if (partner := tied_to(name, self.infos)) is not None:
            return partner
        raise TensorMissing(f"{self.label}: no tensor called {name}")


def all_finite(tensor: Float[Tensor, "..."]) -> bool:
    """Whether no entry is NaN or Inf, without a copy of the tensor.

    A finite sum tells, and is several times cheaper than the extremes; where finite entries add up
    beyond the type, those decide.
    """
    if tensor.numel() == 0 or math.isfinite(tensor.sum().item()):
        return True
    low, high = torch.aminmax(tensor)
    return math.isfinite(low.item()) and math.isfinite(high.item())


class StoredWeights(Weights):
    """Tensors as they were saved, in a folder or in memory, behind what they stand for.

    8-bit floats with scales beside them stand for the product of the two, and the scales are not
    among the names.
    """

    def __init__(
        self,
        saved: Mapping[str, TensorInfo],
        label: str,
        *,
        config: Mapping[str, Any],
        read_as: torch.dtype | None,
    ) -> None:
        """Raises UnsupportedTensor for scales that do not fit, and for packed weights."""
        self.label, self.read_as, self.config = label, read_as, config
        check_not_packed(saved, config, label)
        self._scales = find_scales(saved, block=block_size(config), label=label)
        self.scaled = frozenset(self._scales)
        hidden = hidden_names(self._scales)
        self._infos = {
            # bfloat16: what is written of them, in a merge say, comes without scales
            name: TensorInfo(info.shape, torch.bfloat16) if name in self.scaled else info
            for name, info in saved.items()
            if name not in hidden
        }
        self.transposed = transposed_names(config, self._infos)

    @abstractmethod
    def _saved(self, name: str) -> Shaped[Tensor, "..."]:
        """A tensor as it was saved, scales included among the names."""

    @abstractmethod
    def _saved_block(self, name: str, start: int, stop: int) -> Shaped[Tensor, "block"]:
        """Entries start … stop of the flattened tensor as it was saved, in memory of its own."""

    @property
    def infos(self) -> Mapping[str, TensorInfo]:
        """Shape and dtype by name; scaled tensors count as bfloat16."""
        return self._infos

    def stored(self, name: str) -> Shaped[Tensor, "..."]:
        """A tensor as it was saved, in memory of its own if it comes from a file; a scaled one
        times its scales, rounded to bfloat16."""
        tensor = self._exact(name)
        return tensor.bfloat16() if self._own_name(name) in self.scaled else tensor

    def stored_block(self, name: str, start: int, stop: int) -> Shaped[Tensor, "block"]:
        """Entries start … stop of `stored`, without reading the others."""
        block = self._exact_block(name, start, stop)
        return block.bfloat16() if self._own_name(name) in self.scaled else block

    def read(self, name: str) -> Float[Tensor, "..."]:
        """A tensor in float32, a scaled one without further rounding; raises as in `Weights`."""
        return self.checked(name, self._exact(name))

    def read_block(self, name: str, start: int, stop: int) -> Float[Tensor, "block"]:
        """Entries start … stop of `read`, without reading the others."""
        return self.checked(name, self._exact_block(name, start, stop))

    def read_into(self, out: Float[Tensor, "block"], name: str, start: int) -> None:
        """The same, unchecked."""
        stored = self._exact_block(name, start, start + out.numel())
        self._check_dtype(name, stored.dtype)
        out.copy_(stored if self.read_as is None else stored.to(self.read_as))

    def _exact(self, name: str) -> Shaped[Tensor, "..."]:
        own = self._own_name(name)
        if own not in self.scaled:
            return self._saved(own)
        info = self._infos[own]
        return self._exact_block(own, 0, info.entries).reshape(info.shape)

    def _exact_block(self, name: str, start: int, stop: int) -> Shaped[Tensor, "block"]:
        own = self._own_name(name)
        block = self._saved_block(own, start, stop)
        if own not in self.scaled:
            return block
        scale = self._scales[own]
        shape = self._infos[own].shape
        return scaled_block(block, self._saved(scale.name), scale, shape=shape, start=start)


class FolderWeights(StoredWeights):
    """A checkpoint folder; only headers are read until a tensor is asked for."""

    def __init__(
        self,
        folder: Path,
        tensors: Mapping[str, StoredTensor] | None = None,
        *,
        read_as: torch.dtype | None = None,
    ) -> None:
        """Raises what `scan_folder` raises, unless the tensors are given; CheckpointError for a
        damaged config.json, UnsupportedTensor for weights in a packed form."""
        self.folder: Path = folder
        config = read_config(folder)
        self._tensors = with_prefix(scan_folder(folder) if tensors is None else tensors, config)
        saved = {name: tensor.info for name, tensor in self._tensors.items()}
        super().__init__(saved, str(folder), config=config, read_as=read_as)

    def _saved(self, name: str) -> Shaped[Tensor, "..."]:
        # the bytes go into memory of their own: a mapping would outlive the file
        at = self._tensors[name]
        return self._read_entries(at, 0, at.info.entries).reshape(at.info.shape)

    def _saved_block(self, name: str, start: int, stop: int) -> Shaped[Tensor, "block"]:
        return self._read_entries(self._tensors[name], start, stop)

    def read_into(self, out: Float[Tensor, "block"], name: str, start: int) -> None:
        """The same, by way of memory that each thread uses again and again: it stays in the cache
        of its processor."""
        own = self._own_name(name)
        if own in self.scaled:
            super().read_into(out, name, start)
            return
        at = self._tensors[own]
        self._check_dtype(name, at.info.dtype)
        stored = staging(out.numel() * at.info.dtype.itemsize)
        self._fill(stored, at, start)
        stored = stored.view(at.info.dtype)
        out.copy_(stored if self.read_as is None else stored.to(self.read_as))

    def _read_entries(self, at: StoredTensor, start: int, stop: int) -> Shaped[Tensor, "block"]:
        raw = torch.empty((stop - start) * at.info.dtype.itemsize, dtype=torch.uint8)
        self._fill(raw, at, start)
        return raw.view(at.info.dtype)

    def _fill(self, raw: UInt8[Tensor, "bytes"], at: StoredTensor, start: int) -> None:
        """Fills memory with the bytes of a tensor from an entry on."""
        begin = start * at.info.dtype.itemsize
        view, done = memoryview(raw.numpy().data), 0
        # not by a stream of Python's: that takes longer to open than a block to read
        file = os.open(at.file, os.O_RDONLY | os.O_CLOEXEC)
        try:
            while done < len(view):
                count = os.preadv(file, [view[done:]], at.offset + begin + done)
                if count == 0:
                    raise CheckpointError(f"{at.file}: truncated while it was read")
                done += count
        finally:
            os.close(file)
        if self.digests is not None:
            self.digests.see(Piece(at.file, at.offset, at.info.nbytes), begin, view)


class MemoryWeights(StoredWeights):
    """A state dict."""

    def __init__(
        self,
        tensors: Mapping[str, Tensor],
        label: str,
        *,
        config: Mapping[str, Any] = MappingProxyType({}),
        read_as: torch.dtype | None = None,
    ) -> None:
        """Tensors by name; `label` stands for the model in messages and results. config: what its
        config.json would say, where orientation or fused projections matter."""
        self._tensors = tensors
        saved = {name: TensorInfo(tuple(t.shape), t.dtype) for name, t in tensors.items()}
        super().__init__(saved, label, config=config, read_as=read_as)

    def _saved(self, name: str) -> Shaped[Tensor, "..."]:
        return self._tensors[name].detach().cpu()

    def _saved_block(self, name: str, start: int, stop: int) -> Shaped[Tensor, "block"]:
        return self._saved(name).flatten()[start:stop].clone()
