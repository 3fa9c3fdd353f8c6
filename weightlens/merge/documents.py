"""Several recipes in one file, separated by `---`: a recipe may name another's result as a model.

Each has a `name`, but for the one whose result is the output; where all have one it is the last.
The form is that of mergekit-multi (mergekit 0.1.5).
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from weightlens.errors import RecipeError
from weightlens.merge.opening import named_models
from weightlens.merge.resolution import Resolution, parse_written, read_text
from weightlens.merge.written import Written

_STEP = re.compile(r"\w[\w. -]*")
"""What a step may be called: a folder beside the output has its name."""


@dataclass(frozen=True)
class Documents:
    """The recipes of a file in an order in which they can be carried out; the last is the output's.

    steps: the others, by name; unused: names of recipes whose result nothing needs, which are left
    out.
    """

    steps: dict[str, Resolution]
    last: Resolution
    unused: tuple[str, ...] = ()


def read_documents(file: Path, *, lenient: bool = False) -> Documents:
    """Reads and resolves all recipes of a file. Raises RecipeError, also for names that are given
    twice and for recipes that wait for each other."""
    text = read_text(file)
    resolved = [
        parse_written(Written(part, str(file), first_line=line), lenient=lenient)
        for line, part in split(text)
    ]
    if not resolved:
        raise RecipeError(f"{file}:1: a recipe is a mapping with merge_method and models")
    last = _output(resolved)
    steps: dict[str, Resolution] = {}
    for recipe in resolved:
        name = recipe.recipe.name
        if name in steps:
            raise recipe.written.error(("name",), f"{name} is given twice")
        if recipe is last:
            continue
        assert name is not None
        if not _STEP.fullmatch(name):
            raise recipe.written.error(("name",), f"{name!r}: a name has letters, digits, - and _")
        steps[name] = recipe
    order = _ordered(steps, last)
    unused = tuple(name for name in steps if name not in order)
    said = [f"{file}: nothing needs the recipe {name}; left out" for name in unused]
    last = replace(last, warnings=(*last.warnings, *said))
    return Documents({name: steps[name] for name in order}, last, unused)


def split(text: str) -> Iterator[tuple[int, str]]:
    """The documents of a text that hold something, each with the line that it begins in."""
    first, lines = 1, text.splitlines(keepends=True)
    held: list[str] = []
    for number, line in enumerate([*lines, "---\n"], start=1):
        if line.rstrip() == "---" or line.startswith("--- "):
            part = "".join(held)
            if any(row.strip() and not row.lstrip().startswith("#") for row in held):
                yield first, part
            beside = line[3:].strip()
            held, first = (["   " + line[3:]], number) if beside else ([], number + 1)
        else:
            held.append(line)


def _output(resolved: Sequence[Resolution]) -> Resolution:
    unnamed = [recipe for recipe in resolved if recipe.recipe.name is None]
    if len(unnamed) > 1:
        raise unnamed[1].written.error(
            (), "two recipes of the file have no name; one is the output"
        )
    return unnamed[0] if unnamed else resolved[-1]


def _ordered(steps: Mapping[str, Resolution], last: Resolution) -> list[str]:
    """Names such that each recipe comes after those that it needs, without what nothing needs."""
    end = last.recipe.name
    named = {**steps, **({end: last} if end else {})}
    order: list[str] = []
    under_way = [end] if end else []

    def visit(recipe: Resolution) -> None:
        for model in (term for name in named_models(recipe) for term in (name, *name.split("+"))):
            if model not in named or model in order:
                continue
            if model in under_way:
                circle = " → ".join([*under_way[under_way.index(model) :], model])
                raise recipe.written.error((), f"recipes wait for each other: {circle}")
            under_way.append(model)
            visit(named[model])
            order.append(under_way.pop())

    visit(last)
    return order
