"""From the names in a recipe to models that can be planned with."""

import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from torch import Tensor

from weightlens.checkpoint.model import Model, base_weights, open_model
from weightlens.checkpoint.read import MemoryWeights
from weightlens.checkpoint.remote import RemoteTensors
from weightlens.errors import CheckpointError, InputError, ModelNotFound, RecipeError
from weightlens.hub import Peeked, Resolved, peek
from weightlens.hub import resolve as resolve_model
from weightlens.hub.reference import terms
from weightlens.merge.job import Source
from weightlens.merge.resolution import Resolution
from weightlens.merge.written import nearest

HERE: Mapping[str, str] = MappingProxyType({})
"""Every model is to be had from where the recipe says."""


@dataclass(frozen=True)
class Located:
    """Where the models of a recipe lie, by what the recipe calls them, the base first.

    remote: the tensors of folders whose weights are not there yet: still on the Hub, or yet to be
    merged; missing: bytes that are to be downloaded.
    """

    models: Mapping[str, Resolved]
    remote: Mapping[Path, RemoteTensors] = field(default_factory=dict)
    missing: int = 0

    @property
    def folders(self) -> list[Path]:
        """All folders that will be read."""
        return [folder for at in self.models.values() for folder in at.folders]


Look = Callable[[str], Peeked]
"""How a term of a model reference is looked at."""


def peek_or_download(term: str) -> Peeked:
    """`peek`, but where that cannot tell what pickled weights hold they are downloaded."""
    found = peek(term)
    if found.unknown is None:
        return found
    return Peeked(term, resolve_model(term).path, found.commit, sizes=found.sizes)


def look_up(
    resolution: Resolution,
    steps: Mapping[str, Path] | None = None,
    *,
    look: Look = peek,
    places: Mapping[str, str] = HERE,
    others: Sequence[str] = (),
) -> Located:
    """Finds every model; with `peek`, without downloading weights.

    steps: results of other recipes of the same file, by name; others: recipes of it that nothing
    needs. places: see `terms_of`. Raises
    ModelNotFound, and CheckpointError for weights on the Hub that have no headers to read.
    """
    made = steps or {}
    models: dict[str, Resolved] = {}
    remote: dict[Path, RemoteTensors] = {}
    missing = 0
    for name in named_models(resolution):
        try:
            peeked = [
                Peeked(term, made[term]) if term in made else look(term)
                for term in terms_of(name, made, places)
            ]
        except ModelNotFound as error:
            raise _not_found(resolution, name, error, [*made, *others]) from error
        for term in peeked:
            if term.unknown is not None:
                raise CheckpointError(term.unknown)
            if not term.complete:
                missing += 0 if term.folder in remote else term.missing
                remote[term.folder] = term.tensors
        models[name] = _sum(name, [(term.folder, term.commit) for term in peeked])
    return Located(models, remote, missing)


def _not_found(
    resolution: Resolution, name: str, error: ModelNotFound, steps: Sequence[str]
) -> ModelNotFound:
    """The error with file and line, and with what may have been meant."""
    written, said = resolution.written, str(error)
    folder = Path(written.name).parent
    if os.path.isdir(folder / name):  # False for a name that no file can have
        said = (f"{name}: no such folder here, but there is one in {folder}, beside the recipe; "
                "paths begin where the command is called")  # fmt: skip
    return ModelNotFound(
        str(written.error(written.place_of(name), f"{said}{nearest(name, steps)}"))
    )


def fetch(located: Located, steps: Mapping[str, Path], places: Mapping[str, str] = HERE) -> Located:
    """Downloads what is still on the Hub. steps, places: as for `look_up`, and all steps are there.
    Raises ModelNotFound."""

    def fetched(name: str, at: Resolved) -> Resolved:
        if not any(folder in located.remote for folder in at.folders):
            return at
        found = [
            Resolved(term, steps[term]) if term in steps else resolve_model(term)
            for term in terms_of(name, steps, places)
        ]
        return _sum(name, [(term.path, term.commits[0]) for term in found])

    return Located({name: fetched(name, at) for name, at in located.models.items()})


def _sum(name: str, found: Sequence[tuple[Path, str | None]]) -> Resolved:
    (first, _), *others = found
    return Resolved(
        name, first, tuple(folder for folder, _ in others), tuple(commit for _, commit in found)
    )


def terms_of(reference: str, steps: Collection[str], places: Mapping[str, str] = HERE) -> list[str]:
    """What a reference adds up: names of steps, folders, Hub ids. places: where models are to be
    had from, by what recipes call them or a term of that. Raises ModelNotFound."""
    if reference in steps:
        return [reference]
    if reference not in places:
        return terms("+".join(places.get(term, term) for term in reference.split("+")))
    return terms(places[reference])


def placeable(resolutions: Iterable[Resolution], steps: Collection[str]) -> list[str]:
    """What a place can be given for: every model that recipes name, and every term of a sum, but
    the results of other recipes of the same file."""
    names = [name for resolution in resolutions for name in named_models(resolution)]
    found = dict.fromkeys(term for name in names for term in (name, *name.split("+")))
    return [name for name in found if name not in steps]


def check_places(places: Mapping[str, str], known: Sequence[str]) -> None:
    """Raises InputError where a place is given for what is not among these names."""
    for name, place in places.items():
        if name not in known:
            suggestion = nearest(name, known) or f"; there are {', '.join(known)}"
            raise InputError(
                f"{name}={place}: no model that goes in is called {name!r}{suggestion}"
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
