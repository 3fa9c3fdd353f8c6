"""A model: a full checkpoint, adapters on a base, or both; and its delta against a base."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from weightlens.checkpoint.adapter import Adapter, is_adapter
from weightlens.checkpoint.adapter_sum import NO_ADAPTERS, AdapterSum
from weightlens.checkpoint.layout import TensorInfo
from weightlens.checkpoint.names import TIED, is_computed
from weightlens.checkpoint.pickled import PickledWeights
from weightlens.checkpoint.read import FolderWeights
from weightlens.checkpoint.remote import RemoteTensors, RemoteWeights
from weightlens.checkpoint.weight_files import is_pickled
from weightlens.checkpoint.weights import Weights
from weightlens.delta import Delta, Dense, added
from weightlens.errors import CheckpointError, ShapeMismatch, TensorMissing

Kind = Literal["full", "adapter"]


@dataclass(frozen=True)
class Model:
    """Full weights, adapters, or full weights with adapters on top.

    weights is None for adapters alone: they are relative to whatever base they are measured
    against.
    """

    label: str
    weights: Weights | None
    adapters: AdapterSum = NO_ADAPTERS

    @property
    def kind(self) -> Kind:
        """Whether the model comes as full weights or with adapters."""
        return "adapter" if self.adapters else "full"

    def infos(self, base: Weights) -> Mapping[str, TensorInfo]:
        """Shape and dtype of every tensor, those of the base where only adapters are given."""
        return (self.weights or base).infos

    def check_against(self, base: Weights, *, vocabulary: Collection[str] = ()) -> None:
        """Raises unless names and shapes are those of the base: TensorMissing, ShapeMismatch,
        AdapterMismatch. An absent `lm_head.weight` is tied to the embeddings and no error.

        vocabulary: tensors whose number of rows may differ."""
        self.adapters.check_fits(base)
        if self.weights is None or self.weights is base:
            return
        check_same_tensors(base, self.weights, vocabulary=vocabulary)

    def tensor(self, name: str, base: Weights) -> Float[Tensor, "..."]:
        """The weight in float32, adapters applied."""
        if name in self.adapters.replaced:
            tensor = self.adapters.replacement(name)
        else:
            tensor = (self.weights or base).read(name)
        return self.adapters.applied(name, tensor)

    def delta(self, name: str, base: Weights, base_tensor: Float[Tensor, "m n"]) -> Delta | None:
        """The delta of one matrix; None where the model leaves it untouched for certain, or where
        its adapters cancel.

        Factored where the model is the base itself with LoRA adapters on top; dense under DoRA.
        """
        if name in self.adapters.replaced or self.adapters.is_dora(name):
            return Dense(self.tensor(name, base) - base_tensor)
        low_rank = self.adapters.factored(name)
        if self.weights is None or self.weights is base:
            return low_rank
        tensor = self.weights.read(name)
        # a state dict's tensors belong to the caller
        ours = self.weights.folder is not None
        difference = Dense(tensor.sub_(base_tensor) if ours else tensor - base_tensor)
        return difference if low_rank is None else added(difference, low_rank)


class AppliedWeights(Weights):
    """A model with its adapters applied, as plain weights in float32."""

    def __init__(self, model: Model) -> None:
        """Raises CheckpointError for adapters without the base they belong to."""
        if model.weights is None:
            raise CheckpointError(
                f"{model.label}: is an adapter; a base needs full weights (or BASE+ADAPTER)"
            )
        model.check_against(model.weights)
        self.label = model.label
        self._model, self._weights = model, model.weights
        self.transposed, self.config = model.weights.transposed, model.weights.config
        self.scaled = model.weights.scaled

    def touches(self, name: str) -> bool:
        """Whether a tensor is other than the stored one, and its blocks cost as much as all of
        it."""
        return self._model.adapters.touches(name)

    @property
    def infos(self) -> Mapping[str, TensorInfo]:
        """Shape by name; the dtype is that of the stored weights below the adapters."""
        return self._weights.infos

    def stored(self, name: str) -> Shaped[Tensor, "..."]:
        """The weight with the adapters' deltas added."""
        own = self._own_name(name)
        if not self.infos[own].dtype.is_floating_point:
            return self._weights.stored(own)
        return self._model.tensor(own, self._weights)

    def stored_block(self, name: str, start: int, stop: int) -> Shaped[Tensor, "block"]:
        """Entries start … stop of `stored`."""
        own = self._own_name(name)
        if self.infos[own].dtype.is_floating_point and not self.touches(own):
            return self._weights.read_block(own, start, stop)
        return self.stored(name).flatten()[start:stop].clone()


def base_weights(model: Model) -> Weights:
    """The weights of a model that serves as a base. Raises CheckpointError for a bare adapter."""
    if not model.adapters and model.weights is not None:
        return model.weights
    return AppliedWeights(model)


NOTHING_REMOTE: Mapping[Path, RemoteTensors] = MappingProxyType({})


def open_model(
    path: Path,
    *,
    adapters: Sequence[Path] = (),
    label: str | None = None,
    base: Weights | None = None,
    read_as: torch.dtype | None = None,
    remote: Mapping[Path, RemoteTensors] = NOTHING_REMOTE,
) -> Model:
    """A model from a folder: full weights, or an adapter where the folder holds one.

    adapters: further folders with adapters to put on top; where the first is the folder of `base`,
    the model shares its weights and its deltas stay factored. read_as: the type that full weights
    are rounded to as they are read. remote: the tensors of folders that hold all but the weights,
    by folder; such a model can be planned with, and not read. Reads headers only, and what is
    beside the numbers in pickles. Raises CheckpointError for damaged folders and for full weights
    where an adapter belongs, UnsupportedTensor for adapters that do not add up and for pickles
    that hold more than tensors.
    """
    label = label or str(path)
    for folder in adapters:
        if not is_adapter(folder):
            raise CheckpointError(f"{folder}: holds no PEFT adapter (adapter_config.json)")
    above = AdapterSum([_open_adapter(folder, remote) for folder in adapters])
    if is_adapter(path):
        return Model(label, None, AdapterSum([_open_adapter(path, remote), *above.parts]))
    if above and base is not None and _same_folder(base.folder, path):
        return Model(label, base, above)
    if path in remote:
        return Model(label, RemoteWeights(path, remote[path], label=label, read_as=read_as), above)
    return Model(label, open_weights(path, read_as=read_as), above)


def open_weights(folder: Path, *, read_as: torch.dtype | None = None) -> Weights:
    """Full weights, in whichever form the folder has them; safetensors win over pickles.

    read_as, errors: those of `open_model`.
    """
    if is_pickled(folder):
        return PickledWeights(folder, read_as=read_as)
    return FolderWeights(folder, read_as=read_as)


def _same_folder(one: Path | None, other: Path) -> bool:
    return one is not None and one.resolve() == other.resolve()


def _open_adapter(folder: Path, remote: Mapping[Path, RemoteTensors]) -> Adapter:
    if folder in remote:
        return Adapter(folder, RemoteWeights(folder, remote[folder], label=str(folder)))
    return Adapter(folder)


def check_same_tensors(base: Weights, other: Weights, *, vocabulary: Collection[str] = ()) -> None:
    """Raises TensorMissing or ShapeMismatch where names or shapes differ between two models.

    vocabulary: tensors whose number of rows may differ."""
    for name in {**base.infos, **other.infos}:
        ours, theirs = base.infos.get(name), other.infos.get(name)
        if ours is None or theirs is None:
            has, lacks = (base, other) if theirs is None else (other, base)
            # tied embeddings and what models compute are stored on some sides only
            if name in TIED or is_computed(name, has.infos[name].shape):
                continue
            raise TensorMissing(f"{name} is in {has.label} but not in {lacks.label}")
        if name in vocabulary and ours.shape[1:] == theirs.shape[1:]:
            continue
        if ours.shape != theirs.shape:
            raise ShapeMismatch(
                f"{name} is {' x '.join(map(str, theirs.shape))} in {other.label} but "
                f"{' x '.join(map(str, ours.shape))} in {base.label}"
            )
