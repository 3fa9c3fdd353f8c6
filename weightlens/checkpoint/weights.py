"""Named tensors, wherever they lie: what everything that reads weights asks for."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from weightlens.checkpoint.digests import ReadDigests
from weightlens.checkpoint.layout import TensorInfo
from weightlens.checkpoint.names import tied_to
from weightlens.errors import NonFiniteTensor, TensorMissing, UnsupportedTensor

ReadInto = Callable[[Float[Tensor, "block"], int], None]
"""Fills memory with a tensor's entries from one on."""


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

    def exact(self, name: str) -> Shaped[Tensor, "..."]:
        """A tensor as stored, a scaled one as the product in float32."""
        return self.stored(name)

    def exact_block(self, name: str, start: int, stop: int) -> Shaped[Tensor, "block"]:
        """Entries start … stop of `exact`, in memory of its own."""
        return self.stored_block(name, start, stop)

    def read(self, name: str) -> Float[Tensor, "..."]:
        """A tensor in float32.

        Raises NonFiniteTensor where it holds NaN or Inf, UnsupportedTensor where it holds integers.
        """
        return self.checked(name, self.exact(name))

    def read_block(self, name: str, start: int, stop: int) -> Float[Tensor, "block"]:
        """Entries start … stop of the flattened tensor in float32, in memory of its own;
        raises like `read`."""
        return self.checked(name, self.exact_block(name, start, stop))

    @contextmanager
    def opened(self, name: str) -> Iterator[ReadInto]:
        """A tensor that is read block by block: what fills memory with the entries from a place on
        that `read_block` gives, without looking for NaN and Inf. Raises like `read`."""

        def read(out: Float[Tensor, "block"], start: int) -> None:
            out.copy_(self.read_block(name, start, start + out.numel()))

        yield read

    def checked(self, name: str, stored: Shaped[Tensor, "..."]) -> Float[Tensor, "..."]:
        """What `read` makes of a tensor as stored: the very tensor where that is float32."""
        self.check_dtype(name, stored.dtype)
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

    def check_dtype(self, name: str, dtype: torch.dtype) -> None:
        """Raises UnsupportedTensor for a type whose entries are no weights by themselves."""
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
