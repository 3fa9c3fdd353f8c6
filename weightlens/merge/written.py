"""A recipe's text with the lines of its fields, and complaints that name them."""

import difflib
from collections.abc import Callable, Sequence
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from weightlens.errors import RecipeError

Location = tuple[str | int, ...]

_DEEPEST = 20
"""No recipe nests so far; an alias that holds itself does."""

_NOT_YET = ("slices", "modules", "tokenizer", "tokenizer_source", "chat_template", "name")
"""mergekit's keys that this version does not carry out."""

_PLAIN = ("bool", "float", "str", "literal['chance']")
"""What pydantic appends to the place of a value that fits none of several types."""


class Written:
    """A recipe's text, what it says, and where."""

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

    def has(self, location: Location) -> bool:
        """Whether the text has a field at this place."""
        return location in self._lines

    def error(self, location: Location, message: str, *, line: int | None = None) -> RecipeError:
        """An error at a field: file, line, field, message."""
        found = location
        while line is None and found not in self._lines and found:
            found = found[:-1]
        at = line or self._lines.get(found, 1)
        field = ".".join(map(str, location))
        return RecipeError(f"{self.name}:{at}: {field}: {message}" if field
                           else f"{self.name}:{at}: {message}")  # fmt: skip

    def complaint(
        self,
        error: ValidationError,
        model: type[BaseModel],
        relocated: Callable[[Location], Location] = lambda location: location,
    ) -> RecipeError:
        """One of pydantic's complaints about a model, with file, line and the nearest name.

        relocated: where in the text a field of the model stands. A misspelt key comes first: the
        key that is missing for it is only its shadow.
        """
        first = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
        own: Location = tuple(first["loc"])
        message = str(first["msg"]).removeprefix("Value error, ")
        if own and own[-1] in _PLAIN:
            own, message = own[:-1], _plain_message(own[-2])
        elif first["type"] == "extra_forbidden":
            message = unknown_key(str(own[-1]), list(_owner(model, own[:-1]).model_fields))
        elif first["type"] == "missing":
            own, message = own[:-1], f"{own[-1]} is missing"
        return self.error(relocated(own), message)


def unknown_key(key: str, known: Sequence[str]) -> str:
    """What is said of a key that does not exist."""
    if key in _NOT_YET:
        return "a key of mergekit that this version does not carry out yet"
    return f"unknown key{nearest(key, known)}"


def nearest(key: str, known: Sequence[str]) -> str:
    """A suggestion to end a message with; empty where no known name is near."""
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else ""


def _plain_message(field: str | int) -> str:
    if field == "target":
        return "must be a number or chance"
    return "must be a number, true, false or a word (lists and filters are not carried out yet)"


def _owner(model: type[BaseModel], location: Location) -> type[BaseModel]:
    """The model that a location leads to: Recipe, ("models", 0) → Source."""
    for part in location:
        if not isinstance(part, str):
            continue
        annotation = model.model_fields[part].annotation
        model = next(t for t in (annotation, *get_args(annotation))
                     if isinstance(t, type) and issubclass(t, BaseModel))  # fmt: skip
    return model
