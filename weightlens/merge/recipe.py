"""Recipes: mergekit's YAML, read strictly, with weightlens's transforms.

Every error names file, line and field; a misspelt key is answered with the nearest known one.
"""

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

from weightlens.errors import RecipeError
from weightlens.merge.method import PER_SOURCE, MergeMethod
from weightlens.merge.methods import METHODS
from weightlens.merge.transforms import Strip

DtypeName = Literal["float32", "bfloat16", "float16"]
Parameter = bool | float | str
Location = tuple[str | int, ...]

_DEEPEST = 20
"""No recipe nests so far; an alias that holds itself does."""

_NOT_YET = ("slices", "modules", "tokenizer", "tokenizer_source", "chat_template", "name")
"""mergekit's keys that this version does not carry out."""

_PLAIN = ("bool", "float", "str", "literal['chance']")
"""What pydantic appends to the place of a value that fits none of several types."""


class Source(BaseModel):
    """A model named in a recipe, and its own parameters."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field(min_length=1)
    parameters: dict[str, Parameter] = Field(default_factory=dict)


class TransformEntry(BaseModel):
    """One transform; the key is its name."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    strip: Strip


class Recipe(BaseModel):
    """A recipe as written.

    dtype: the type that inputs are read as, and written where out_dtype is not given.
    `merge_method: strip` is task arithmetic after one strip transform, whose parameters stand
    among the recipe's.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    merge_method: str
    base_model: str | None = Field(default=None, min_length=1)
    models: list[Source] = Field(min_length=1)
    parameters: dict[str, Parameter] = Field(default_factory=dict)
    transforms: list[TransformEntry] = Field(default_factory=list)
    dtype: DtypeName | None = None
    out_dtype: DtypeName | None = None

    @property
    def read_dtype(self) -> torch.dtype | None:
        """The type that inputs are read as; None for as stored."""
        return getattr(torch, self.dtype) if self.dtype else None

    @property
    def write_dtype(self) -> torch.dtype | None:
        """The type written; None for the base's own, tensor by tensor."""
        name = self.out_dtype or self.dtype
        return getattr(torch, name) if name else None


class Resolution(BaseModel):
    """What a recipe comes to: sources in order, transforms for each delta, and the method."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    recipe: Recipe
    text: str
    sources: tuple[Source, ...]
    transforms: tuple[Strip, ...]
    method: MergeMethod
    warnings: tuple[str, ...] = ()


class Written:
    """A recipe's text with the lines of its fields, for error messages."""

    def __init__(self, text: str, name: str) -> None:
        """Raises RecipeError where the text is not YAML, not a mapping, or repeats a key."""
        self.text, self.name = text, name
        self._lines: dict[Location, int] = {}
        try:
            root = yaml.compose(text, Loader=yaml.SafeLoader)
            self.data: Any = yaml.safe_load(text)
        except (yaml.YAMLError, ValueError, KeyError, TypeError, RecursionError) as error:
            mark = getattr(error, "problem_mark", None)
            where = f"{name}:{mark.line + 1}" if mark else name
            problem = str(getattr(error, "problem", None) or error).split("\n")[0]
            raise RecipeError(f"{where}: not valid YAML: {problem}") from error
        if not isinstance(self.data, dict):
            raise RecipeError(f"{name}:1: a recipe is a mapping with merge_method and models")
        self._walk(root, ())

    def _walk(self, node: yaml.Node | None, location: Location) -> None:
        if len(location) > _DEEPEST:
            raise RecipeError(f"{self.name}: nested too deeply")
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                inner = (*location, str(key.value))
                if inner in self._lines:
                    raise self.error(inner, f"given twice (first in line {self._lines[inner]})",
                                     line=key.start_mark.line + 1)  # fmt: skip
                self._lines[inner] = key.start_mark.line + 1
                self._walk(value, inner)
        elif isinstance(node, yaml.SequenceNode):
            for i, value in enumerate(node.value):
                self._lines[(*location, i)] = value.start_mark.line + 1
                self._walk(value, (*location, i))

    def error(self, location: Location, message: str, *, line: int | None = None) -> RecipeError:
        """An error at a field: file, line, field, message."""
        found = location
        while line is None and found not in self._lines and found:
            found = found[:-1]
        at = line or self._lines.get(found, 1)
        field = ".".join(map(str, location))
        return RecipeError(f"{self.name}:{at}: {field}: {message}" if field
                           else f"{self.name}:{at}: {message}")  # fmt: skip


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
        raise _translated(written, error) from error
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
        raise written.error(("merge_method",), f"{name!r} is not known{_nearest(name, known)}; "
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
        raise _translated(written, error, ("parameters",)) from error


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
                hint = "belongs into the recipe's own parameters" if key in fields else _unknown(
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
        raise _translated(written, error, ("parameters",), [i for i, _ in listed]) from error


def _fields(kind: type[MergeMethod]) -> dict[str, FieldInfo]:
    """A method's parameters by the names that recipes use."""
    return {f.alias or key: f for key, f in kind.model_fields.items() if key != "method"}


def _check_known(shared: Mapping[str, Parameter], known: Sequence[str], written: Written) -> None:
    for key in shared:
        if key not in known:
            raise written.error(("parameters", key), _unknown(key, known))


def _translated(
    written: Written,
    error: ValidationError,
    prefix: Location = (),
    source_indices: Sequence[int] | None = None,
) -> RecipeError:
    """One of pydantic's complaints, with file, line and the nearest name.

    A misspelt key first: the key that is missing for it is only its shadow.
    """
    first = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
    location: Location = (*prefix, *first["loc"])
    message = str(first["msg"]).removeprefix("Value error, ")
    if location[-1:] and location[-1] in _PLAIN:
        location = location[:-1]
        message = "must be a number or chance" if location[-1] == "target" else (
            "must be a number, true, false or a word (lists and filters are not carried out yet)"
        )  # fmt: skip
    if source_indices is not None and len(first["loc"]) == 2 and isinstance(first["loc"][1], int):
        key, i = first["loc"]
        own = ("models", source_indices[int(i)], "parameters", key)
        location = own if own in written._lines else ("parameters", key)
    if first["type"] == "extra_forbidden":
        model: type[BaseModel] = Recipe
        if "strip" in location or prefix:
            model = Strip
        elif "transforms" in location:
            model = TransformEntry
        elif "models" in location:
            model = Source
        message = _unknown(str(location[-1]), list(model.model_fields))
        if model is Recipe and location[-1] in _NOT_YET:
            message = "a key of mergekit that this version does not carry out yet"
    elif first["type"] == "missing":
        message = f"{location[-1]} is missing"
        location = location[:-1]
    return written.error(location, message)


def _unknown(key: str, known: Sequence[str]) -> str:
    return f"unknown key{_nearest(key, known)}"


def _nearest(key: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else ""
