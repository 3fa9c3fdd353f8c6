"""Reading tensors one at a time, from a folder or from a state dict, behind one interface."""

import os
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from jaxtyping import Float, Shaped, UInt8
from torch import Tensor

from weightlens.checkpoint.config import block_size, read_config
from weightlens.checkpoint.digests import Piece
from weightlens.checkpoint.layout import StoredTensor, TensorInfo, scan_folder
from weightlens.checkpoint.names import with_prefix
from weightlens.checkpoint.orientation import transposed_names
from weightlens.checkpoint.scaled import (
    check_not_packed,
    find_scales,
    hidden_names,
    scaled_block,
)
from weightlens.checkpoint.staging import staging
from weightlens.checkpoint.weights import ReadInto, Weights
from weightlens.errors import CheckpointError, ReadFailed

Fill = Callable[[UInt8[Tensor, "bytes"], int], None]
"""Fills memory with a tensor's bytes from one on."""


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
        tensor = self.exact(name)
        return tensor.bfloat16() if self._own_name(name) in self.scaled else tensor

    def stored_block(self, name: str, start: int, stop: int) -> Shaped[Tensor, "block"]:
        """Entries start … stop of `stored`, without reading the others."""
        block = self.exact_block(name, start, stop)
        return block.bfloat16() if self._own_name(name) in self.scaled else block

    @contextmanager
    def opened(self, name: str) -> Iterator[ReadInto]:
        """As in `Weights`."""

        def read(out: Float[Tensor, "block"], start: int) -> None:
            stored = self.exact_block(name, start, start + out.numel())
            self.check_dtype(name, stored.dtype)
            out.copy_(stored if self.read_as is None else stored.to(self.read_as))

        yield read

    def exact(self, name: str) -> Shaped[Tensor, "..."]:
        """As in `Weights`."""
        own = self._own_name(name)
        if own not in self.scaled:
            return self._saved(own)
        info = self._infos[own]
        return self.exact_block(own, 0, info.entries).reshape(info.shape)

    def exact_block(self, name: str, start: int, stop: int) -> Shaped[Tensor, "block"]:
        """Entries start … stop of `exact`, without reading the others."""
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

    @contextmanager
    def opened(self, name: str) -> Iterator[ReadInto]:
        """As in `Weights`, from a file that stays open, by way of memory that each thread uses
        again and again: it stays in the cache of its processor."""
        own = self._own_name(name)
        if own in self.scaled:
            with super().opened(name) as scaled:
                yield scaled
            return
        at, read_as = self._tensors[own], self.read_as
        dtype = at.info.dtype
        self.check_dtype(name, dtype)

        def read(out: Float[Tensor, "block"], start: int) -> None:
            stored = staging(out.numel() * dtype.itemsize)
            fill(stored, start * dtype.itemsize)
            entries = stored.view(dtype)
            out.copy_(entries if read_as is None else entries.to(read_as))

        with self._filling(at) as fill:
            yield read

    def _read_entries(self, at: StoredTensor, start: int, stop: int) -> Shaped[Tensor, "block"]:
        raw = torch.empty((stop - start) * at.info.dtype.itemsize, dtype=torch.uint8)
        with self._filling(at) as fill:
            fill(raw, start * at.info.dtype.itemsize)
        return raw.view(at.info.dtype)

    @contextmanager
    def _filling(self, at: StoredTensor) -> Iterator[Fill]:
        """What fills memory with the bytes of a tensor from a byte on."""
        piece = Piece(at.file, at.offset, at.info.nbytes)
        # not by a stream of Python's: that takes longer to open than a block to read
        try:
            file = os.open(at.file, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise _unreadable(at.file, error) from error
        try:
            yield partial(self._fill, file, piece)
        finally:
            os.close(file)

    def _fill(self, file: int, piece: Piece, raw: UInt8[Tensor, "bytes"], begin: int) -> None:
        view, done = memoryview(raw.numpy().data), 0
        while done < len(view):
            rest = [view[done:]] if done else [view]
            try:
                count = os.preadv(file, rest, piece.offset + begin + done)
            except OSError as error:
                raise _unreadable(piece.file, error) from error
            if count == 0:
                raise CheckpointError(f"{piece.file}: truncated while it was read")
            done += count
        if self.digests is not None:
            self.digests.see(piece, begin, view)


def _unreadable(file: Path, error: OSError) -> ReadFailed:
    return ReadFailed(f"{file}: cannot be read ({error.strerror})")


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
