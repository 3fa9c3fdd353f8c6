"""From the names in a recipe to models that can be planned with."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from weightlens.checkpoint.model import Model, base_weights, open_model
from weightlens.checkpoint.read import MemoryWeights
from weightlens.checkpoint.remote import RemoteTensors
from weightlens.errors import CheckpointError, InputError, RecipeError
from weightlens.hub import Resolved, peek_all
from weightlens.hub import resolve as resolve_model
from weightlens.merge.jobs import Source
from weightlens.merge.resolution import Resolution


@dataclass(frozen=True)
class Located:
    """Where the models of a recipe lie, by what the recipe calls them, the base first.

    remote: the tensors of folders whose weights are not there yet: still on the Hub, or yet to be
    merged; missing: bytes that are to be downloaded. steps: names of results of other recipes.
    """

    models: Mapping[str, Resolved]
    remote: Mapping[Path, RemoteTensors] = field(default_factory=dict)
    missing: int = 0
    steps: frozenset[str] = frozenset()

    @property
    def folders(self) -> list[Path]:
        """All folders that will be read."""
        return [folder for at in self.models.values() for folder in at.folders]


def look_up(resolution: Resolution, steps: Mapping[str, Path] | None = None) -> Located:
    """Finds every model without downloading weights: headers on the Hub are read by range.

    steps: results of other recipes of the same file, by name. Raises ModelNotFound, and
    CheckpointError for weights on the Hub that have no headers to read.
    """
    models: dict[str, Resolved] = {}
    remote: dict[Path, RemoteTensors] = {}
    missing = 0
    for name in named_models(resolution):
        if steps and name in steps:
            models[name] = Resolved(name, steps[name])
            continue
        peeked = peek_all(name)
        for term in peeked:
            if term.unknown is not None:
                raise CheckpointError(term.unknown)
            if not term.complete:
                remote[term.folder] = term.tensors
                missing += term.missing
        first, *others = peeked
        models[name] = Resolved(
            name,
            first.folder,
            tuple(other.folder for other in others),
            tuple(term.commit for term in peeked),
        )
    return Located(models, remote, missing, frozenset(models.keys() & (steps or {}).keys()))


def fetch(located: Located) -> Located:
    """Downloads what is still on the Hub; steps are taken to be there. Raises ModelNotFound."""

    def fetched(name: str, at: Resolved) -> Resolved:
        absent = any(folder in located.remote for folder in at.folders)
        return resolve_model(name) if absent and name not in located.steps else at

    return Located(
        {name: fetched(name, at) for name, at in located.models.items()}, steps=located.steps
    )


def named_models(resolution: Resolution) -> list[str]:
    """Every model that has to be there: those that go in, and the one the tokenizer comes from."""
    recipe = resolution.recipe
    wanted = recipe.wanted_tokenizer
    further = [wanted] if wanted not in (None, "union", "base") else []
    return list(dict.fromkeys([*recipe.references(), *(w for w in further if w)]))


def open_sources(resolution: Resolution, located: Located) -> dict[str, Source]:
    """Opens every model: headers only. Raises what `open_model` raises, and RecipeError for an
    adapter without a base."""
    read_as = resolution.recipe.read_dtype
    named = resolution.recipe.base_model
    base: Model | None = None
    if named is not None:
        at = located.models[named]
        base = open_model(
            at.path, adapters=at.adapters, label=at.label, read_as=read_as, remote=located.remote
        )
    opened = {}
    for name in resolution.recipe.references():
        at = located.models[name]
        opened[name] = base if name == named and base is not None else open_model(
            at.path,
            adapters=at.adapters,
            label=at.label,
            base=base.weights if base else None,
            read_as=read_as,
            remote=located.remote,
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
