"""A recipe's text with the lines of its fields, and complaints that name them."""

import difflib
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from weightlens.errors import RecipeError

Location = tuple[str | int, ...]

_DEEPEST = 20
_MOST = 100_000
"""No recipe nests so far or says so much; an alias that holds itself does, or aliases that hold
aliases."""

_WORDS = tuple(f"tag:yaml.org,2002:{kind}" for kind in ("str", "merge", "value"))
"""What keys are to YAML: text, `<<` and `=`."""

_HALF = re.compile("[\ud800-\udfff]")
"""What JSON writes two of for a character beyond the first 65,536; YAML does not join them."""

_PLAIN = ("bool", "float", "str", "literal['chance']")
"""What pydantic appends to the place of a value that fits none of several types."""


class Written:
    """A recipe's text, what it says, and where."""

    def __init__(self, text: str, name: str, *, first_line: int = 1) -> None:
        """first_line: where in the file the text begins. Raises RecipeError where the text is not
        YAML, not a mapping, too large, or repeats a key."""
        self.text, self.name, self._before = text, name, first_line - 1
        self._lines: dict[Location, int] = {}
        try:
            # walked first: keys that are merged multiply aliases as they are loaded
            self._walk(yaml.compose(text, Loader=yaml.SafeLoader), ())
            self.data: Any = yaml.safe_load(text)
        except (yaml.YAMLError, ValueError, KeyError, TypeError, RecursionError) as error:
            mark = getattr(error, "problem_mark", None)
            where = f"{name}:{mark.line + first_line}" if mark else name
            problem = str(getattr(error, "problem", None) or error).split("\n")[0]
            raise RecipeError(f"{where}: not valid YAML: {problem}") from error
        if not isinstance(self.data, dict):
            raise RecipeError(
                f"{name}:{first_line}: a recipe is a mapping with merge_method and models"
            )

    def _walk(self, node: yaml.Node | None, location: Location) -> None:
        if len(location) > _DEEPEST:
            raise RecipeError(f"{self.name}: nested too deeply")
        if len(self._lines) > _MOST:
            raise RecipeError(
                f"{self.name}: says more than {_MOST:,} things, by aliases of aliases or outright; "
                "write fewer"
            )
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                inner = self._named(key, location)
                if inner in self._lines:
                    raise self.error(inner, f"given twice (first in line {self._lines[inner]})",
                                     line=self._line(key))  # fmt: skip
                self._lines[inner] = self._line(key)
                self._walk(value, inner)
        elif isinstance(node, yaml.SequenceNode):
            for i, value in enumerate(node.value):
                self._lines[(*location, i)] = self._line(value)
                self._walk(value, (*location, i))
        elif isinstance(node, yaml.ScalarNode):
            self._check_text(node, location)

    def _named(self, key: yaml.Node, location: Location) -> Location:
        """The place of a field. Raises RecipeError where the key is no word."""
        if not isinstance(key, yaml.ScalarNode):  # may be endless as text
            raise self.error(location, "a key is a word", line=self._line(key))
        self._check_text(key, location)
        if key.tag not in _WORDS:
            raise self.error((*location, key.value), "a key is a word", line=self._line(key))
        return (*location, key.value)

    def _check_text(self, node: yaml.ScalarNode, location: Location) -> None:
        if _HALF.search(node.value):
            raise self.error(
                location,
                "a \\u escape is half a character: write it itself, or as \\U and 8 digits",
                line=self._line(node),
            )

    def _line(self, node: yaml.Node) -> int:
        return int(node.start_mark.line) + 1 + self._before

    def has(self, location: Location) -> bool:
        """Whether the text has a field at this place."""
        return location in self._lines

    def place_of(self, value: str) -> Location:
        """The first field with this value; empty where there is none."""
        return next((at for at in self._lines if self._value(at) == value), ())

    def _value(self, location: Location) -> Any:
        found = self.data
        for part in location:
            try:
                found = found[part]
            except (KeyError, TypeError):  # a key that is no text, or merged in by <<
                return None
        return found

    def error(self, location: Location, message: str, *, line: int | None = None) -> RecipeError:
        """An error at a field: file, line, field, message."""
        at = line or self._nearest_line(location)
        field = ".".join(map(str, location))
        return RecipeError(f"{self.name}:{at}: {field}: {message}" if field
                           else f"{self.name}:{at}: {message}")  # fmt: skip

    def _nearest_line(self, location: Location) -> int:
        """Of the field or, where it is not written, of what it belongs into."""
        while location:
            if location in self._lines:
                return self._lines[location]
            location = location[:-1]
        return 1 + self._before

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
    return f"unknown key{nearest(key, known)}"


def nearest(key: str, known: Sequence[str]) -> str:
    """A suggestion to end a message with; empty where no known name is near."""
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    near += [k for k in difflib.get_close_matches(key, known, n=2, cutoff=0.8) if k not in near]
    return f"; did you mean {' or '.join(map(repr, near))}?" if near else ""


def _plain_message(field: str | int) -> str:
    return "must be a number or chance" if field == "target" else "must be a single value"


def _owner(model: type[BaseModel], location: Location) -> type[BaseModel]:
    """The model that a location leads to: Recipe, ("models", 0) → Source."""
    in_mapping = False
    for part in location:
        if not isinstance(part, str) or in_mapping:
            in_mapping = False
            continue
        annotation = model.model_fields[part].annotation
        model = next(_models(annotation))
        in_mapping = any(get_origin(t) is dict for t in (annotation, *get_args(annotation)))
    return model


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models that an annotation holds, however deep."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models(inner)
