"""Whatever a caller calls a model, as a model."""

from collections.abc import Mapping
from os import PathLike

from torch import Tensor

from weightlens.checkpoint.model import Model, open_model
from weightlens.checkpoint.read import MemoryWeights
from weightlens.checkpoint.weights import Weights
from weightlens.hub import resolve

ModelLike = str | PathLike[str] | Mapping[str, Tensor] | Model
"""A folder, Hub id or BASE+ADAPTER+ADAPTER…, a state dict, or a model that is open already."""


def opened(model: ModelLike, *, base: Weights | None = None) -> Model:
    """Opens a model; nothing but headers is read.

    base: weights that are shared where the model is the same base with adapters on top.
    Raises ModelNotFound, CheckpointError.
    """
    if isinstance(model, Model):
        return model
    if isinstance(model, Mapping):
        return Model("state dict", MemoryWeights(model, "state dict"))
    at = resolve(str(model))
    return open_model(at.path, adapters=at.adapters, label=at.label, base=base)
