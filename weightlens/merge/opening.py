"""From the names in a recipe to models that can be planned with."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from weightlens.checkpoint.model import Model, base_weights, open_model
from weightlens.checkpoint.read import MemoryWeights
from weightlens.errors import InputError, RecipeError
from weightlens.hub import Resolved
from weightlens.hub import resolve as resolve_model
from weightlens.merge.jobs import Source
from weightlens.merge.resolution import Resolution


@dataclass(frozen=True)
class Located:
    """Where the models of a recipe lie, by what the recipe calls them, the base first."""

    models: Mapping[str, Resolved]

    @property
    def folders(self) -> list[Path]:
        """All folders that will be read."""
        return [folder for at in self.models.values() for folder in at.folders]


def locate(resolution: Resolution, steps: Mapping[str, Path] | None = None) -> Located:
    """Finds every model, downloading what is on the Hub. steps: results of other recipes of the
    same file, by name. Raises ModelNotFound."""
    known = steps or {}
    return Located({
        name: Resolved(name, known[name]) if name in known else resolve_model(name)
        for name in resolution.recipe.references()
    })  # fmt: skip


def open_sources(resolution: Resolution, located: Located) -> dict[str, Source]:
    """Opens every model: headers only. Raises what `open_model` raises, and RecipeError for an
    adapter without a base."""
    read_as = resolution.recipe.read_dtype
    named = resolution.recipe.base_model
    base: Model | None = None
    if named is not None:
        at = located.models[named]
        base = open_model(at.path, adapters=at.adapters, label=at.label, read_as=read_as)
    opened = {}
    for name, at in located.models.items():
        opened[name] = base if name == named and base is not None else open_model(
            at.path,
            adapters=at.adapters,
            label=at.label,
            base=base.weights if base else None,
            read_as=read_as,
        )  # fmt: skip
    return _sources(resolution, opened)


def hold_sources(
    resolution: Resolution, models: Mapping[str, Mapping[str, Tensor]]
) -> dict[str, Source]:
    """The same for state dicts in memory. Raises InputError for a name that is not among them."""
    read_as = resolution.recipe.read_dtype
    opened = {}
    for name in resolution.recipe.references():
        if name not in models:
            raise InputError(f"{name}: named in the recipe, but not among the models given")
        opened[name] = Model(name, MemoryWeights(models[name], name, read_as=read_as))
    return _sources(resolution, opened)


def _sources(resolution: Resolution, opened: Mapping[str, Model]) -> dict[str, Source]:
    named = resolution.recipe.base_model
    below = None if named is None else base_weights(opened[named])
    found = {}
    for name, model in opened.items():
        if name == named and below is not None:
            # what deltas refer to; its adapters, if any, are applied already
            found[name] = Source(Model(name, below), below)
        elif model.weights is not None:
            found[name] = Source(model, model.weights)
        elif below is not None:
            found[name] = Source(model, below)
        else:
            raise RecipeError(
                f"{name}: is an adapter; {resolution.recipe.merge_method} needs a base_model for "
                "it, or write BASE+ADAPTER"
            )
    return found


def dtype_of(source: Source) -> torch.dtype | None:
    """The type of most of a model's weights; None where it holds no floating-point tensor."""
    kinds = [info.dtype for info in source.weights.infos.values() if info.dtype.is_floating_point]
    return max(set(kinds), key=kinds.count) if kinds else None
