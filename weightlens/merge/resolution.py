"""From a recipe's text to groups of sources, transforms and a method.

Every error names file, line and field; a misspelt key is answered with the nearest known one.
Nothing is read but the recipe.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from weightlens.errors import RecipeError
from weightlens.merge.grouping import Group, grouped
from weightlens.merge.leniency import Complaints
from weightlens.merge.method import MergeMethod
from weightlens.merge.methods import METHODS
from weightlens.merge.parameters import Parameter, foreign_parameters, parameters_of
from weightlens.merge.recipe import Recipe
from weightlens.merge.settings import (
    CONDITION,
    Setting,
    evaluate,
    problem,
    scalars,
    unknown_keys,
)
from weightlens.merge.transforms import Strip
from weightlens.merge.written import Location, Written, nearest, unknown_key


@dataclass(frozen=True)
class Resolution:
    """What a recipe comes to.

    groups: the parts of the output that have sources of their own: one, or one for each slice.
    transforms: done to each source's delta, in order, before the method.
    """

    recipe: Recipe
    text: str
    written: Written
    kind: type[MergeMethod]
    groups: tuple[Group, ...]
    transforms: tuple[Strip, ...]
    warnings: tuple[str, ...] = ()

    @property
    def sources(self) -> tuple[str, ...]:
        """The models that go in besides the base, once each, in the recipe's order."""
        return tuple(dict.fromkeys(use.model for group in self.groups for use in group.sources))

    def method(
        self,
        group: Group | None = None,
        *,
        output: str = "",
        inputs: Sequence[str] | None = None,
        t: float = 0.0,
    ) -> MergeMethod:
        """The method with its parameters for one tensor.

        output, inputs: the tensor's name there and in each source, which filters look at; t: how
        far its layer is up the stack, 0 to 1. Raises RecipeError where a parameter has no value.
        """
        group = group or self.groups[0]
        names = inputs or [output] * len(group.sources)
        values: dict[str, Any] = {}
        for parameter in parameters_of(self.kind).values():
            if parameter.per_source is None:
                value = self._value(parameter, group.scopes, output, t)
                if value is not None:
                    values[parameter.field] = value
            else:
                values[parameter.field] = tuple(
                    self._value(parameter, (use.scope, *group.scopes), name, t, at=use.at)
                    for use, name in zip(group.sources, names, strict=True)
                )
        try:
            return self.kind.model_validate(values)
        except ValidationError as error:
            raise self._misfit(error, group, output) from error

    def _value(
        self,
        parameter: Parameter,
        scopes: Sequence[tuple[Location, Mapping[str, Setting]]],
        name: str,
        t: float,
        at: Location = (),
    ) -> Any:
        for place, settings in scopes:
            if parameter.name in settings:
                try:
                    value = evaluate(settings[parameter.name], name, t, parameter.typed)
                except ValueError as error:  # of a number between two points of a gradient
                    message = f"{error} at {t:g} of the way ({name})"
                    raise self.written.error((*place, parameter.name), message) from error
                if value is not None:
                    return value
        if parameter.needed:
            where = f" for {name}" if name else ""
            raise self.written.error(at, f"no {parameter.name}{where}: give it under parameters")
        return parameter.default

    def _misfit(self, error: ValidationError, group: Group, output: str) -> RecipeError:
        """Parameters that do not go together, at the place of the first that is concerned."""
        first = error.errors()[0]
        own = tuple(first["loc"])
        places: list[Location] = [(*at, *own[:1]) for at, _ in group.scopes]
        if len(own) == 2 and isinstance(own[1], int):
            places.insert(0, (*group.sources[own[1]].scope[0], own[0]))
        place = next((p for p in places if self.written.has(p)), ("parameters", *own))
        message = str(first["msg"]).removeprefix("Value error, ")
        return self.written.error(place, f"{message} ({output})" if output else message)


def read_recipe(file: str | PathLike[str], *, lenient: bool = False) -> Resolution:
    """Reads and resolves a recipe file. lenient: unknown keys are warnings. Raises RecipeError."""
    return parse_recipe(read_text(Path(file)), str(file), lenient=lenient)


def read_text(file: Path) -> str:
    """A recipe file's text. Raises RecipeError."""
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{file}: cannot be read ({error})") from error


def parse_recipe(text: str, name: str = "recipe", *, lenient: bool = False) -> Resolution:
    """Reads and resolves a recipe's text; `name` stands for the file in messages."""
    return parse_written(Written(text, name), lenient=lenient)


def parse_written(written: Written, *, lenient: bool = False) -> Resolution:
    """Resolves a text that has been read as YAML."""
    complaints = Complaints(written, lenient)
    return _resolved(complaints.validated(Recipe, copy.deepcopy(written.data)), complaints)


def resolve(recipe: Recipe) -> Resolution:
    """Turns a recipe made in Python into groups, transforms and a method. Raises RecipeError."""
    plain = recipe.model_dump(mode="json", exclude_defaults=True)
    written = Written(yaml.safe_dump(plain, sort_keys=False), "recipe")
    return _resolved(recipe, Complaints(written, lenient=False))


def _resolved(recipe: Recipe, complaints: Complaints) -> Resolution:
    written = complaints.written
    short_form = recipe.merge_method == "strip"
    name = "task_arithmetic" if short_form else recipe.merge_method
    if name not in METHODS:
        known = [*METHODS, "strip"]
        raise written.error(("merge_method",), f"{name!r} is not known{nearest(name, known)}; "
                            f"there are {', '.join(sorted(known))}")  # fmt: skip
    kind = METHODS[name]
    transforms = [entry.strip for entry in recipe.transforms]
    further: tuple[str, ...] = ()
    if short_form:
        transforms.insert(0, _short_strip(recipe, kind, complaints))
        further = tuple(Strip.model_fields)
        kept = {k: v for k, v in recipe.parameters.items() if k not in Strip.model_fields}
        recipe = recipe.model_copy(update={"parameters": kept})
    groups = grouped(recipe, kind, complaints)
    if transforms and kind.space(based=True) == "weights":
        raise written.error(("transforms",), f"{name} works on weights; transforms need deltas")
    if transforms and any(group.base is None for group in groups):
        raise written.error(("transforms",), "transforms need deltas, and so a base_model")
    for group in groups:
        _check_parameters(group, kind, complaints, further)
    _warn_of_no_control(transforms, short_form, complaints)
    resolution = Resolution(recipe, written.text, written, kind, groups, tuple(transforms))
    for group in groups:
        _check_complete(resolution, group)
    return Resolution(recipe, written.text, written, kind, groups, tuple(transforms),
                      warnings=tuple(dict.fromkeys(complaints.warnings)))  # fmt: skip


def _short_strip(recipe: Recipe, kind: type[MergeMethod], complaints: Complaints) -> Strip:
    """The transform of `merge_method: strip`, from the recipe's own parameters. What is misspelt is
    told before what is missing for it."""
    known = [*parameters_of(kind), *Strip.model_fields]
    for key in recipe.parameters:
        if key not in known:
            _complain_of_name(("parameters", key), key, known, complaints)
    own = {k: v for k, v in recipe.parameters.items() if k in Strip.model_fields}
    try:
        return Strip.model_validate(own)
    except ValidationError as error:
        raise complaints.written.complaint(
            error, Strip, lambda place: ("parameters", *place)
        ) from error


def _warn_of_no_control(
    transforms: Sequence[Strip], short_form: bool, complaints: Complaints
) -> None:
    for i, strip in enumerate(transforms):
        if strip.subspace == "random" and strip.target == "chance":
            shortened = short_form and i == 0
            place = ("parameters",) if shortened else ("transforms", i - short_form, "strip")
            complaints.warn(
                (*place, "subspace"),
                "a delta reads chance in a random subspace as it is, so next to nothing is "
                "stripped; for a control give target: 0 here and in what it is compared with",
            )


def _check_parameters(
    group: Group,
    kind: type[MergeMethod],
    complaints: Complaints,
    further: Sequence[str],
) -> None:
    """further: names that would have been known at the top of the recipe."""
    known = parameters_of(kind)
    shared = [(scope, False) for scope in group.scopes]
    own = [(use.scope, True) for use in group.sources]
    for (at, settings), of_source in (*shared, *own):
        for key, setting in settings.items():
            place = (*at, key)
            parameter = known.get(key)
            if parameter is None:
                _complain_of_name(place, key, [*known, *further], complaints)
                continue
            if of_source and parameter.per_source is None:
                complaints.unknown(place, "belongs into the recipe's own parameters")
                continue
            _check_setting(place, setting, parameter, complaints)


def _complain_of_name(
    place: Location, key: str, known: Sequence[str], complaints: Complaints
) -> None:
    if key in foreign_parameters():
        complaints.warn(place, "belongs to another method; ignored")
    elif key in known:
        complaints.unknown(place, "belongs into the recipe's own parameters")
    else:
        complaints.unknown(place, unknown_key(key, known))


def _check_setting(
    place: Location, setting: Setting, parameter: Parameter, complaints: Complaints
) -> None:
    written = complaints.written
    for inner in unknown_keys(setting):
        complaints.unknown((*place, *inner), unknown_key(str(inner[-1]), CONDITION))
    wrong = problem(setting)
    if wrong is not None:
        raise written.error((*place, *wrong[0]), wrong[1])
    for inner, value in scalars(setting):
        try:
            parameter.typed(value)
        except ValueError as error:
            raise written.error((*place, *inner), str(error)) from error


def _check_complete(resolution: Resolution, group: Group) -> None:
    """Builds the method once for a tensor of no name, unless filters decide: then the plan does."""
    settings = [s for _, scope in group.scopes for s in scope.values()]
    settings += [s for use in group.sources for s in use.scope[1].values()]
    if not any(_filtered(setting) for setting in settings):
        resolution.method(group)


def _filtered(setting: Setting) -> bool:
    entries = setting if isinstance(setting, list) else [setting]
    return any(isinstance(entry, dict) for entry in entries)
