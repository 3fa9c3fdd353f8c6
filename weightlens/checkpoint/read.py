"""Reading tensors one at a time, from a folder or from a state dict, behind one interface."""

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from weightlens.checkpoint.layout import StoredTensor, TensorInfo, scan_folder
from weightlens.checkpoint.orientation import transposed_names
from weightlens.errors import CheckpointError, NonFiniteTensor, TensorMissing, UnsupportedTensor

TIED = {"lm_head.weight": "model.embed_tokens.weight"}
"""Tensors that a checkpoint may leave out, and the one that stands in for each."""


class Weights(ABC):
    """Named tensors whose shapes are known before any is read."""

    label: str
    read_as: torch.dtype | None = None
    """The type that tensors are rounded to as they are read; None for as stored."""
    transposed: frozenset[str] = frozenset()
    """Names of the matrices that are stored as inputs x outputs (GPT-2's Conv1D)."""

    @property
    @abstractmethod
    def infos(self) -> Mapping[str, TensorInfo]:
        """Shape and dtype by name, in the checkpoint's order."""

    @abstractmethod
    def stored(self, name: str) -> Shaped[Tensor, "..."]:
        """A tensor as stored. Raises TensorMissing for an unknown name."""

    @abstractmethod
    def stored_block(self, name: str, start: int, stop: int) -> Shaped[Tensor, "block"]:
        """Entries start … stop of the flattened tensor as stored."""

    def read(self, name: str) -> Float[Tensor, "..."]:
        """A tensor in float32.

        Raises NonFiniteTensor where it holds NaN or Inf, UnsupportedTensor where it holds integers.
        """
        return self._checked(name, self.stored(name))

    def read_block(self, name: str, start: int, stop: int) -> Float[Tensor, "block"]:
        """Entries start … stop of the flattened tensor in float32; raises like `read`."""
        return self._checked(name, self.stored_block(name, start, stop))

    def _checked(self, name: str, stored: Shaped[Tensor, "..."]) -> Float[Tensor, "..."]:
        if not stored.is_floating_point():
            raise UnsupportedTensor(
                f"{self.label}: {name} is {stored.dtype}; only floating-point weights are measured "
                "or merged (quantised checkpoints must be dequantised first)"
            )
        if stored.dtype.itemsize == 1:
            raise UnsupportedTensor(
                f"{self.label}: {name} is {stored.dtype} and means nothing without its scales; "
                "dequantise the checkpoint first"
            )
        tensor = (stored if self.read_as is None else stored.to(self.read_as)).float()
        if not torch.isfinite(tensor).all():
            if torch.isfinite(stored).all():
                raise NonFiniteTensor(
                    f"{self.label}: {name} holds numbers beyond {self.read_as or torch.float32}; "
                    "choose a wider dtype"
                )
            kind = "NaN" if torch.isnan(tensor).any() else "Inf"
            raise NonFiniteTensor(f"{self.label}: {name} holds {kind}; a merge would spread it")
        return tensor

    def _own_name(self, name: str) -> str:
        """The name under which a tensor is stored here: its own, or that of its tied partner."""
        if name in self.infos:
            return name
        if TIED.get(name) in self.infos:
            return TIED[name]
        raise TensorMissing(f"{self.label}: no tensor called {name}")


class FolderWeights(Weights):
    """A checkpoint folder; only headers are read until a tensor is asked for."""

    def __init__(
        self,
        folder: Path,
        tensors: Mapping[str, StoredTensor] | None = None,
        *,
        read_as: torch.dtype | None = None,
    ) -> None:
        """Raises what `scan_folder` raises, unless the tensors are given."""
        self.read_as = read_as
        self.label = str(folder)
        self.folder = folder
        self._tensors = dict(scan_folder(folder) if tensors is None else tensors)
        self._infos = {name: tensor.info for name, tensor in self._tensors.items()}
        self.transposed = transposed_names(folder, self._infos)

    @property
    def infos(self) -> Mapping[str, TensorInfo]:
        """Shape and dtype by name."""
        return self._infos

    def stored(self, name: str) -> Shaped[Tensor, "..."]:
        """Reads the tensor's bytes into memory of its own (no mapping that would outlive it)."""
        at = self._tensors[self._own_name(name)]
        return self._read_entries(at, 0, at.info.entries).reshape(at.info.shape)

    def stored_block(self, name: str, start: int, stop: int) -> Shaped[Tensor, "block"]:
        """Entries start … stop of the flattened tensor, read from disk alone."""
        return self._read_entries(self._tensors[self._own_name(name)], start, stop)

    def _read_entries(self, at: StoredTensor, start: int, stop: int) -> Shaped[Tensor, "block"]:
        size = at.info.dtype.itemsize
        raw = torch.empty((stop - start) * size, dtype=torch.uint8)
        view, done = memoryview(raw.numpy().data), 0
        with at.file.open("rb", buffering=0) as stream:
            while done < len(view):
                offset = at.offset + start * size + done
                count = os.preadv(stream.fileno(), [view[done:]], offset)
                if count == 0:
                    raise CheckpointError(f"{at.file}: truncated while it was read")
                done += count
        return raw.view(at.info.dtype)


class MemoryWeights(Weights):
    """A state dict."""

    def __init__(
        self, tensors: Mapping[str, Tensor], label: str, *, read_as: torch.dtype | None = None
    ) -> None:
        """Tensors by name; `label` stands for the model in messages and results."""
        self.read_as = read_as
        self.label = label
        self._tensors = tensors

    @property
    def infos(self) -> Mapping[str, TensorInfo]:
        """Shape and dtype by name."""
        return {n: TensorInfo(tuple(t.shape), t.dtype) for n, t in self._tensors.items()}

    def stored(self, name: str) -> Shaped[Tensor, "..."]:
        """The tensor itself, detached and on the CPU."""
        return self._tensors[self._own_name(name)].detach().cpu()

    def stored_block(self, name: str, start: int, stop: int) -> Shaped[Tensor, "block"]:
        """A view of the flattened tensor."""
        return self.stored(name).flatten()[start:stop]
