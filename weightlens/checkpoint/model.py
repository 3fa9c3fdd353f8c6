"""A model: a full checkpoint, an adapter on a base, or both; and its delta against a base."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from weightlens.checkpoint.adapter import Adapter, is_adapter
from weightlens.checkpoint.layout import TensorInfo
from weightlens.checkpoint.read import TIED, FolderWeights, Weights
from weightlens.delta import Delta, Dense, Factored, added
from weightlens.errors import CheckpointError, ShapeMismatch, TensorMissing

Kind = Literal["full", "adapter"]


@dataclass(frozen=True)
class Model:
    """Full weights, an adapter, or full weights with an adapter on top.

    weights is None for an adapter alone: it is relative to whatever base it is measured against.
    """

    label: str
    weights: Weights | None
    adapter: Adapter | None = None

    @property
    def kind(self) -> Kind:
        """Whether the model comes as full weights or as an adapter."""
        return "full" if self.adapter is None else "adapter"

    def infos(self, base: Weights) -> Mapping[str, TensorInfo]:
        """Shape and dtype of every tensor, those of the base where only an adapter is given."""
        return (self.weights or base).infos

    def check_against(self, base: Weights, *, vocabulary: Collection[str] = ()) -> None:
        """Raises unless names and shapes are those of the base: TensorMissing, ShapeMismatch,
        AdapterMismatch. An absent `lm_head.weight` is tied to the embeddings and no error.

        vocabulary: tensors whose number of rows may differ."""
        if self.adapter is not None:
            self.adapter.check_fits(base)
        if self.weights is None or self.weights is base:
            return
        check_same_tensors(base, self.weights, vocabulary=vocabulary)

    def tensor(self, name: str, base: Weights) -> Float[Tensor, "..."]:
        """The weight in float32, adapter applied."""
        if self.adapter is not None and name in self.adapter.replaced:
            tensor = self.adapter.replacement(name)
        else:
            tensor = (self.weights or base).read(name)
        if self.adapter is not None and name in self.adapter.names:
            tensor = self.adapter.applied(name, tensor)
        return tensor

    def delta(self, name: str, base: Weights, base_tensor: Float[Tensor, "m n"]) -> Delta | None:
        """The delta of one matrix; None where the model leaves it untouched for certain.

        Factored where the model is the base itself with a LoRA adapter on top; dense under DoRA.
        """
        dense = self.adapter is not None and (
            name in self.adapter.replaced or self.adapter.is_dora(name)
        )
        if dense:
            return Dense(self.tensor(name, base) - base_tensor)
        same = self.weights is None or self.weights is base
        low_rank: Factored | None = None
        if self.adapter is not None and name in self.adapter.names:
            low_rank = self.adapter.factored(name)
        if same:
            return low_rank
        assert self.weights is not None
        difference = Dense(self.weights.read(name) - base_tensor)
        return difference if low_rank is None else added(difference, low_rank)


class AppliedWeights(Weights):
    """A model with its adapter applied, as plain weights in float32."""

    def __init__(self, model: Model) -> None:
        """Raises CheckpointError for an adapter without the base it belongs to."""
        if model.weights is None:
            raise CheckpointError(
                f"{model.label}: is an adapter; a base needs full weights (or BASE+ADAPTER)"
            )
        model.check_against(model.weights)
        self.label = model.label
        self._model, self._weights = model, model.weights
        self.transposed = model.weights.transposed

    @property
    def infos(self) -> Mapping[str, TensorInfo]:
        """Shape by name; the dtype is that of the stored weights below the adapter."""
        return self._weights.infos

    def stored(self, name: str) -> Shaped[Tensor, "..."]:
        """The weight with the adapter's delta added."""
        if not self._weights.stored(name).is_floating_point():
            return self._weights.stored(name)
        return self._model.tensor(self._own_name(name), self._weights)

    def stored_block(self, name: str, start: int, stop: int) -> Shaped[Tensor, "block"]:
        """Entries start … stop of `stored`."""
        return self.stored(name).flatten()[start:stop]


def base_weights(model: Model) -> Weights:
    """The weights of a model that serves as a base. Raises CheckpointError for a bare adapter."""
    if model.adapter is None and model.weights is not None:
        return model.weights
    return AppliedWeights(model)


def open_model(
    path: Path,
    *,
    adapter: Path | None = None,
    label: str | None = None,
    base: Weights | None = None,
    read_as: torch.dtype | None = None,
) -> Model:
    """A model from a folder: full weights, or an adapter where the folder holds one.

    adapter: a second folder with an adapter to put on top; where the first is the folder of
    `base`, the model shares its weights and its deltas stay factored. read_as: the type that full
    weights are rounded to as they are read. Reads headers only. Raises CheckpointError for damaged
    folders, or where the folder below an adapter is one itself.
    """
    label = label or str(path)
    if adapter is not None:
        if is_adapter(path):
            raise CheckpointError(f"{path}: is an adapter; BASE+ADAPTER needs full weights first")
        if not is_adapter(adapter):
            raise CheckpointError(f"{adapter}: holds no PEFT adapter (adapter_config.json)")
        shared = isinstance(base, FolderWeights) and base.folder.resolve() == path.resolve()
        weights = base if shared else FolderWeights(path, read_as=read_as)
        return Model(label, weights, Adapter(adapter))
    if is_adapter(path):
        return Model(label, None, Adapter(path))
    return Model(label, FolderWeights(path, read_as=read_as))


def check_same_tensors(base: Weights, other: Weights, *, vocabulary: Collection[str] = ()) -> None:
    """Raises TensorMissing or ShapeMismatch where names or shapes differ between two models.

    vocabulary: tensors whose number of rows may differ."""
    for name in {**base.infos, **other.infos}:
        ours, theirs = base.infos.get(name), other.infos.get(name)
        if ours is None or theirs is None:
            if name in TIED:  # tied embeddings are stored on some sides only
                continue
            has, lacks = (base, other) if theirs is None else (other, base)
            raise TensorMissing(f"{name} is in {has.label} but not in {lacks.label}")
        if name in vocabulary and ours.shape[1:] == theirs.shape[1:]:
            continue
        if ours.shape != theirs.shape:
            raise ShapeMismatch(
                f"{name} is {' x '.join(map(str, theirs.shape))} in {other.label} but "
                f"{' x '.join(map(str, ours.shape))} in {base.label}"
            )
