"""The text of a YAML file with the lines of its fields, and complaints that name them."""

import difflib
from collections.abc import Sequence
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from weightlens.errors import EvaluationError

Location = tuple[str | int, ...]

_DEEPEST = 20
_MOST = 20_000
"""No task file nests so far or says so much; an alias that holds itself, or others of its kind,
does."""

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Written:
    """A YAML mapping: what it says, and in which line."""

    def __init__(self, text: str, name: str, *, form: str) -> None:
        """name: of the file, for errors. form: what the mapping must have, for errors.

        Raises EvaluationError where the text is not YAML, not a mapping, or repeats a key.
        """
        self.text, self.name = text, name
        self._lines: dict[Location, int] = {}
        try:
            loader = _LOADER(text)
            try:
                root = loader.get_single_node()
                self._walk(root, ())
                self.data: Any = loader.construct_document(root) if root is not None else None
            finally:
                loader.dispose()
        except (yaml.YAMLError, ValueError, KeyError, TypeError, RecursionError) as error:
            mark = getattr(error, "problem_mark", None)
            where = f"{name}:{mark.line + 1}" if mark else name
            problem = str(getattr(error, "problem", None) or error).split("\n")[0]
            raise EvaluationError(f"{where}: not valid YAML: {problem}") from error
        if not isinstance(self.data, dict):
            raise EvaluationError(f"{name}:1: {form}")

    def _walk(self, node: yaml.Node | None, location: Location) -> None:
        if len(location) > _DEEPEST or len(self._lines) > _MOST:
            raise EvaluationError(f"{self.name}: too large, or nested too deeply")
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if not isinstance(key, yaml.ScalarNode):  # may be endless as text
                    raise self.error(location, "a key is a word", line=_line(key))
                inner = (*location, str(key.value))
                if inner in self._lines:
                    message = f"given twice (first in line {self._lines[inner]})"
                    raise self.error(inner, message, line=_line(key))
                self._lines[inner] = _line(key)
                self._walk(value, inner)
        elif isinstance(node, yaml.SequenceNode):
            for i, value in enumerate(node.value):
                self._lines[(*location, i)] = _line(value)
                self._walk(value, (*location, i))

    def error(
        self, location: Location, message: str, *, line: int | None = None
    ) -> EvaluationError:
        """An error at a field: file, line, field, message."""
        at = line or self._nearest_line(location)
        field = ".".join(map(str, location))
        where = f"{self.name}:{at}: {field}" if field else f"{self.name}:{at}"
        return EvaluationError(f"{where}: {message}")

    def _nearest_line(self, location: Location) -> int:
        """Of the field or, where it is not written, of what it belongs into."""
        while location:
            if location in self._lines:
                return self._lines[location]
            location = location[:-1]
        return 1

    def complaint(self, error: ValidationError, model: type[BaseModel]) -> EvaluationError:
        """One of pydantic's complaints about a model, with file, line and the nearest name.

        A misspelt key comes first: the key that is missing for it is only its shadow.
        """
        first = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
        location = tuple(part for part in first["loc"] if part != "[key]")
        message = str(first["msg"]).removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            known = list(_owner(model, location[:-1]).model_fields)
            message = f"unknown key{nearest(str(location[-1]), known)}"
        elif first["type"] == "missing":
            location, message = location[:-1], f"{location[-1]} is missing"
        return self.error(location, message)


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def nearest(key: str, known: Sequence[str]) -> str:
    """A suggestion to end a message with; empty where no known name is near."""
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else ""


def _owner(model: type[BaseModel], location: Location) -> type[BaseModel]:
    """The model that a location leads to."""
    for part in location:
        if isinstance(part, str) and part in model.model_fields:
            model = _model_in(model.model_fields[part].annotation) or model
    return model


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    inner = (_model_in(part) for part in get_args(annotation))
    return next((found for found in inner if found is not None), None)
