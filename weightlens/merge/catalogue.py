"""The catalogue of merge methods, made from the methods themselves: their fields and docstrings.

The first paragraph of a module's docstring says what its methods do. A class's docstring explains
its parameters as clauses, `name: text` or `name, name: text`, that end with a semicolon or a full
stop.
"""

import re
import sys
from functools import cache
from typing import Any, Literal, get_args, get_origin

from pydantic import Field

from weightlens.errors import InputError
from weightlens.merge.method import BaseUse, MergeMethod
from weightlens.merge.methods import METHODS
from weightlens.merge.parameters import parameters_of, type_name
from weightlens.merge.transforms import Strip
from weightlens.merge.written import nearest
from weightlens.record import Record

_PAPER = re.compile(r"arXiv:\d{4}\.\d{4,5}")
_AUTHORS = re.compile(r"(?:[A-Z]\w+ et al\.|[A-Z]\w+ and [A-Z]\w+|[A-Za-z]\w+) (?:19|20)\d\d\b")


class ParameterEntry(Record):
    """One parameter. each: whether every source has a value of its own; needed: whether a recipe
    must give it; type: what a recipe writes for it."""

    name: str
    each: bool
    needed: bool
    default: bool | int | float | str | None
    type: str
    text: str


class MethodEntry(Record):
    """One method. fewest, most: sources, the base not counted unless it is ignored; passes: how a
    tensor is read (pointwise, two-pass, row-wise, matrix); deltas: whether it works on deltas."""

    name: str
    text: str
    base: BaseUse
    fewest: int
    most: int | None
    passes: str
    deltas: bool
    parameters: list[ParameterEntry]
    reference: str | None


class Catalogue(Record):
    """All methods that recipes can name."""

    schema_: Literal["weightlens.methods/1"] = Field(default="weightlens.methods/1", alias="schema")
    methods: list[MethodEntry]


@cache
def catalogue() -> Catalogue:
    """Every method, in the order of the registry, and strip."""
    return Catalogue(methods=[*(_entry(name, kind) for name, kind in METHODS.items()), _strip()])


def method_entry(name: str) -> MethodEntry:
    """The method of that name. Raises InputError, with the nearest one, where there is none."""
    entries = {entry.name: entry for entry in catalogue().methods}
    if name not in entries:
        raise InputError(f"{name!r} is no merge method{nearest(name, list(entries))}; "
                         f"there are {', '.join(sorted(entries))}")  # fmt: skip
    return entries[name]


def explanations(kind: type, names: list[str]) -> dict[str, str]:
    """What the docstrings of a class and its parents say of its parameters, the nearest first."""
    found: dict[str, str] = {}
    name = "|".join(map(re.escape, names))
    clause = re.compile(rf"(?:^|(?<=[.;] ))((?:{name})(?:, (?:{name}))*): (.*?)(?=[.;](?: |$))")
    for each in kind.__mro__:
        text = " ".join((each.__dict__.get("__doc__") or "").split())
        for found_names, said in clause.findall(text) if names else ():
            for one in found_names.split(", "):
                found.setdefault(one, said)
    return found


def _entry(name: str, kind: type[MergeMethod]) -> MethodEntry:
    parameters = parameters_of(kind)
    said = explanations(kind, list(parameters))
    return MethodEntry(
        name=name,
        text=_summary(kind),
        base=kind.base,
        fewest=kind.fewest,
        most=kind.most,
        passes=kind.passes,
        deltas=kind.space(based=True) == "deltas",
        parameters=[
            ParameterEntry(
                name=p.name,
                each=p.per_source is not None,
                needed=p.needed,
                default=None if p.needed else p.default,
                type=type_name(p),
                text=said.get(p.name, ""),
            )
            for p in parameters.values()
        ],
        reference=_reference(_doc(kind)),
    )


def _strip() -> MethodEntry:
    """Task arithmetic after one strip, whose parameters stand among its own."""
    plain = _entry("task_arithmetic", METHODS["task_arithmetic"])
    said = explanations(Strip, list(Strip.model_fields))
    own = [
        ParameterEntry(
            name=key,
            each=False,
            needed=False,
            default=field.default,
            type=_written_as(field.annotation),
            text=said.get(key, ""),
        )
        for key, field in Strip.model_fields.items()
    ]
    return plain.model_copy(
        update={
            "name": "strip",
            "text": _first_paragraph(_doc(Strip)),
            "passes": "matrix",
            "parameters": [*own, *plain.parameters],
            "reference": _reference(_doc(Strip)),
        }
    )


def _doc(kind: type) -> str:
    return sys.modules[kind.__module__].__doc__ or ""


def _first_paragraph(doc: str) -> str:
    """Without the name in front."""
    text = " ".join(doc.split("\n\n")[0].split())
    return text.split(": ", 1)[-1]


def _summary(kind: type[MergeMethod]) -> str:
    text = _first_paragraph(_doc(kind))
    family = [k for k in METHODS.values() if k.__module__ == kind.__module__]
    if len(family) > 1 and getattr(kind, "elects", False):
        return f"{text} Signs are elected."
    return text


def _reference(doc: str) -> str | None:
    """Authors and year, and the paper's number, as far as the docstring gives them."""
    text = " ".join(doc.split())
    paper = _PAPER.search(text)
    authors = [m[0] for m in _AUTHORS.finditer(text) if paper is None or m.end() <= paper.start()]
    parts = [*authors[-1:], *([paper[0]] if paper else [])]
    if not parts and "mergekit 0.1.5" in text:
        parts = ["mergekit 0.1.5"]
    return ", ".join(parts) or None


def _written_as(annotation: Any) -> str:
    """What a recipe writes for a field of the transform."""
    words: list[str] = []
    for option in (annotation, *get_args(annotation)):
        if get_origin(option) is Literal:
            words += get_args(option)
    kinds = {bool: "true or false", int: "whole number", float: "number"}
    options = get_args(annotation) or (annotation,)
    plain = [text for kind, text in kinds.items() if kind in options]
    return " or ".join([*plain, *([", ".join(dict.fromkeys(words))] if words else [])])
