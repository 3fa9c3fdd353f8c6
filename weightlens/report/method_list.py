"""Merge methods on screen: all of them in a few lines each, and one in full."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from weightlens.merge.catalogue import Catalogue, MethodEntry, ParameterEntry
from weightlens.report.folding import packed

_EACH = "* each source has its own. A parameter without a value must be given."


def method_list(catalogue: Catalogue) -> list[RenderableType]:
    """Every method with its parameters and their defaults."""
    return [
        *map(_Method, catalogue.methods),
        "",
        _EACH,
        "`weightlens recipe methods NAME` tells all of one; `weightlens recipe new NAME` prints a "
        "recipe to begin with; `transforms` puts a strip before any method on deltas.",
    ]


def method_in_full(entry: MethodEntry) -> list[RenderableType]:
    """What a method does, what it takes, and each of its parameters."""
    return [
        Text(entry.name, style="bold"),
        entry.text,
        "",
        _pairs(
            {
                "sources": _sources(entry),
                "passes": entry.passes,
                "works on": "deltas" if entry.deltas else "weights",
                "reference": entry.reference or "–",
            }
        ),
        *_parameters(entry.parameters),
    ]


@dataclass(frozen=True)
class _Method:
    """`name: parameter default, …`, broken between parameters alone."""

    entry: MethodEntry

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        name, indent = f"{self.entry.name}: ", 4
        parameters = [*map(_parameter, self.entry.parameters)] or ["no parameters"]
        first, *others = packed([name + parameters[0], *parameters[1:]], options.max_width - indent)
        line = Text(first)
        line.stylize("bold", 0, len(name) - 1)
        yield line
        yield from (Text(" " * indent + other) for other in others)


def _parameters(parameters: Sequence[ParameterEntry]) -> Iterator[RenderableType]:
    if not parameters:
        return
    yield from ("", Text("parameters", style="bold"))
    for parameter in parameters:
        name, value = f"{parameter.name}{'*' * parameter.each}", _default(parameter)
        yield f"{name}: {parameter.type}{value and f'; default {value}'}"
        if parameter.text:
            yield Padding(Text(parameter.text), (0, 0, 0, 4), expand=False)
    yield from ("", _EACH)


def _pairs(said: dict[str, str]) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    for name, text in said.items():
        table.add_row(name, text)
    return table


def _sources(entry: MethodEntry) -> str:
    many = f"{entry.fewest} or more"
    if entry.most is not None:
        few = {entry.fewest: None, entry.most: None}
        many = "–".join(map(str, few))
    base = {"ignored": "the base is one of them", "optional": "a base may be given"}
    return f"{many}; {base.get(entry.base, 'a base is needed, and not counted')}"


def _parameter(parameter: ParameterEntry) -> str:
    return f"{parameter.name}{'*' * parameter.each} {_default(parameter)}".rstrip()


def _default(parameter: ParameterEntry) -> str:
    """Nothing where a recipe must give it."""
    value = parameter.default
    if parameter.needed:
        return ""
    return (
        "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    )
