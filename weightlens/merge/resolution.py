"""From a recipe's text to sources, transforms and a method.

Every error names file, line and field; a misspelt key is answered with the nearest known one.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo

from weightlens.errors import RecipeError
from weightlens.merge.method import PER_SOURCE, MergeMethod
from weightlens.merge.methods import METHODS
from weightlens.merge.recipe import Parameter, Recipe, Source
from weightlens.merge.transforms import Strip
from weightlens.merge.written import Location, Written, nearest, unknown_key


class Resolution(BaseModel):
    """What a recipe comes to: sources in order, transforms for each delta, and the method."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    recipe: Recipe
    text: str
    sources: tuple[Source, ...]
    transforms: tuple[Strip, ...]
    method: MergeMethod
    warnings: tuple[str, ...] = ()


def read_recipe(file: Path) -> Resolution:
    """Reads and resolves a recipe file. Raises RecipeError."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{file}: cannot be read ({error})") from error
    return parse_recipe(text, str(file))


def parse_recipe(text: str, name: str = "recipe") -> Resolution:
    """Reads and resolves a recipe's text; `name` stands for the file in messages."""
    written = Written(text, name)
    try:
        recipe = Recipe.model_validate(written.data)
    except ValidationError as error:
        raise written.complaint(error, Recipe) from error
    return resolve(recipe, written)


def resolve(recipe: Recipe, written: Written | None = None) -> Resolution:
    """Turns a recipe into sources, transforms and a method.

    A base listed among the models of a delta method is ignored, as in mergekit: its delta is zero.
    """
    if written is None:
        plain = recipe.model_dump(mode="json", exclude_defaults=True)
        written = Written(yaml.safe_dump(plain, sort_keys=False), "recipe")
    short_form = recipe.merge_method == "strip"
    name = "task_arithmetic" if short_form else recipe.merge_method
    if name not in METHODS:
        known = [*METHODS, "strip"]
        raise written.error(("merge_method",), f"{name!r} is not known{nearest(name, known)}; "
                            f"there are {', '.join(known)}")  # fmt: skip
    kind = METHODS[name]
    if kind.space == "deltas" and recipe.base_model is None:
        raise written.error(("merge_method",), f"{recipe.merge_method} needs a base_model")
    listed = [
        (i, s)
        for i, s in enumerate(recipe.models)
        if kind.space == "weights" or s.model != recipe.base_model
    ]
    if not listed:
        raise written.error(("models",), "no model besides the base")
    warnings = [
        f"{written.name}: models.{i}: the base itself is listed; its delta is zero, ignored"
        for i, s in enumerate(recipe.models)
        if (i, s) not in listed
    ]
    parameters = dict(recipe.parameters)
    transforms = [entry.strip for entry in recipe.transforms]
    if short_form:
        _check_known(parameters, [*_fields(kind), *Strip.model_fields], written)
        own = {key: parameters.pop(key) for key in list(parameters) if key in Strip.model_fields}
        transforms.insert(0, _strip_from(own, written))
    if transforms and kind.space == "weights":
        raise written.error(("transforms",), f"{name} works on weights; transforms need deltas")
    method = _method(kind, parameters, listed, written)
    return Resolution(
        recipe=recipe,
        text=written.text,
        sources=tuple(source for _, source in listed),
        transforms=tuple(transforms),
        method=method,
        warnings=tuple(warnings),
    )


def _strip_from(parameters: Mapping[str, Parameter], written: Written) -> Strip:
    try:
        return Strip.model_validate(parameters)
    except ValidationError as error:
        raise written.complaint(error, Strip, lambda own: ("parameters", *own)) from error


def _method(
    kind: type[MergeMethod],
    shared: Mapping[str, Parameter],
    listed: Sequence[tuple[int, Source]],
    written: Written,
) -> MergeMethod:
    fields = _fields(kind)
    per_source = {name for name, f in fields.items() if PER_SOURCE in f.metadata}
    _check_known(shared, list(fields), written)
    for i, source in listed:
        for key in source.parameters:
            if key not in per_source:
                place = ("models", i, "parameters", key)
                hint = "belongs into the recipe's own parameters" if key in fields else unknown_key(
                    key, sorted(per_source))  # fmt: skip
                raise written.error(place, hint)
    values: dict[str, Any] = {k: v for k, v in shared.items() if k not in per_source}
    for key in sorted(per_source):
        given = [source.parameters.get(key, shared.get(key)) for _, source in listed]
        for (i, _), value in zip(listed, given, strict=True):
            if value is None:
                raise written.error(("models", i), f"no {key}: give it under parameters")
        values[key] = tuple(given)
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise written.complaint(error, kind, partial(_place, written, listed)) from error


def _place(written: Written, listed: Sequence[tuple[int, Source]], own: Location) -> Location:
    """Where a method's field stands: with its source where it is given there, else shared."""
    if len(own) == 2 and isinstance(own[1], int):
        with_source = ("models", listed[own[1]][0], "parameters", own[0])
        return with_source if written.has(with_source) else ("parameters", own[0])
    return ("parameters", *own)


def _fields(kind: type[MergeMethod]) -> dict[str, FieldInfo]:
    """A method's parameters by the names that recipes use."""
    return {f.alias or key: f for key, f in kind.model_fields.items() if key != "method"}


def _check_known(shared: Mapping[str, Parameter], known: Sequence[str], written: Written) -> None:
    for key in shared:
        if key not in known:
            raise written.error(("parameters", key), unknown_key(key, known))
