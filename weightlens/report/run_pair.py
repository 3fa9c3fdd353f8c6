"""Two results of one kind against each other, value by value."""

import difflib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field
from rich.console import Console, ConsoleOptions, RenderableType
from rich.table import Table
from rich.text import Text

from weightlens.errors import InputError
from weightlens.evaluate.result import EvalReport
from weightlens.merge.record import MergeReport
from weightlens.record import Record
from weightlens.report.banded import plain_table
from weightlens.report.fitting import Fitting
from weightlens.report.folding import folded
from weightlens.report.numbers import number
from weightlens.report.run_values import (
    Value,
    evaluation_values,
    merge_values,
    overlap_values,
)
from weightlens.report.runs import Run, read_runs
from weightlens.survey.result import OverlapReport

_COMPARED = ("merge", "eval", "overlap")
_NARROWEST = 12
_ROUNDING = 4 * sys.float_info.epsilon
"""Of the larger of two numbers: what sums of the same in another order may differ by."""


class RunPair(Record):
    """b against a. values: what both say of the same thing; recipe: lines of a unified diff, of
    merges whose recipes differ; notes: what could not be compared."""

    schema_: Literal["weightlens.run-pair/1"] = Field(
        default="weightlens.run-pair/1", alias="schema"
    )
    kind: str
    a: str
    b: str
    values: list[Value]
    recipe: list[str]
    notes: list[str]


def compare_runs(a: Path, b: Path) -> RunPair:
    """Two merges, evaluations or overlaps, each a file or the folder that holds it.

    Raises InputError where they have no kind in common, or several results of it.
    """
    first, second = _of_one_kind(a, b)
    recipe: list[str] = []
    match first.report, second.report:
        case MergeReport() as one, MergeReport() as other:
            values, notes = merge_values(one, other)
            recipe = _diff(one, other, str(a), str(b))
        case EvalReport() as one, EvalReport() as other:
            values, notes = evaluation_values(one, first.file, other, second.file)
        case OverlapReport() as one, OverlapReport() as other:
            values, notes = overlap_values(one, other)
    return RunPair(
        kind=first.kind, a=str(first.file), b=str(second.file),
        values=values, recipe=recipe, notes=notes,
    )  # fmt: skip


def pair_tables(pair: RunPair) -> list[RenderableType]:
    """What differs, and by how much; then the recipes."""
    shown: list[RenderableType] = [f"a: {pair.a}", f"b: {pair.b}", ""]
    shown.append(_Values(pair.values))
    if pair.recipe:
        shown += ["", *(Text(line, style=_style(line)) for line in pair.recipe)]
    elif pair.kind == "merge":
        shown += ["", "The recipes are the same."]
    return [*shown, *pair.notes]


@dataclass(frozen=True)
class _Values:
    """A line a value; long names and models are folded so that the difference has room."""

    values: Sequence[Value]

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> Iterator[RenderableType]:
        width = options.max_width
        yield Fitting(self._table(width, width), self._table(3 * width // 10, width // 4))

    def _table(self, whats: int, sides: int) -> Table:
        """whats, sides: the most characters in a line of a name, and of what a and b say."""
        table = plain_table()
        for name in ("", "a", "b"):
            table.add_column(name, justify="right" if name else "left", no_wrap=True)
        table.add_column("difference", overflow="fold")
        for value in self.values:
            table.add_row(
                Text(folded(value.what, max(_NARROWEST, whats))),
                *(Text(folded(_written(v), max(_NARROWEST, sides))) for v in (value.a, value.b)),
                Text(_change(value)),
            )
        return table


def _of_one_kind(a: Path, b: Path) -> tuple[Run, Run]:
    found = [read_runs([path]) for path in (a, b)]
    kinds = [{run.kind for run in runs} for runs in found]
    shared = [kind for kind in _COMPARED if all(kind in one for one in kinds)]
    if not shared:
        held = ["; ".join(sorted(one)) for one in kinds]
        raise InputError(
            f"{a} holds {held[0]} and {b} holds {held[1]}: only two merges, two evaluations or two "
            "overlaps are compared"
        )
    picked = [[run for run in runs if run.kind == shared[0]] for runs in found]
    for path, runs in zip((a, b), picked, strict=True):
        if len(runs) > 1:
            names = ", ".join(run.file.name for run in runs)
            raise InputError(f"{path} holds several results of {shared[0]} ({names}): name one")
    return picked[0][0], picked[1][0]


def _diff(a: MergeReport, b: MergeReport, name_a: str, name_b: str) -> list[str]:
    lines: Iterator[str] = difflib.unified_diff(
        a.recipe.splitlines(), b.recipe.splitlines(), name_a, name_b, lineterm="", n=1
    )
    return [*lines]


def _written(value: float | str | None) -> str:
    if isinstance(value, float) and value >= 1e4:
        return f"{value:,.0f}"
    return value if isinstance(value, str) else number(value)


def _change(value: Value) -> str:
    if value.sentence:
        return value.sentence
    if value.a is None or value.b is None:
        return f"only in {'a' if value.b is None else 'b'}"
    if value.difference is None:
        return "" if value.a == value.b else "differs"
    largest = max(abs(n) for n in (value.a, value.b) if isinstance(n, int | float))
    if abs(value.difference) <= _ROUNDING * largest:
        return "0"
    return f"{value.difference:+.3g}".replace("-", "−")


def _style(line: str) -> str:
    styles: Sequence[tuple[str, str]] = (("+", "green"), ("-", "red"), ("@", "dim"))
    return next((style for sign, style in styles if line.startswith(sign)), "")
