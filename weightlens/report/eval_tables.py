"""`weightlens eval` in the terminal: scores with intervals, differences from the first model."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from weightlens.evaluate.result import EvalReport, PairResult
from weightlens.report.drift_table import drift_tables
from weightlens.report.eval_parts import (
    NO_KINDS,
    Found,
    Kinds,
    Part,
    besides,
    compared_parts,
    described,
    in_words,
    names_of,
    p_value,
    parts_of,
    results_of,
    score,
    told,
)
from weightlens.report.fitting import Fitting

_MOST_COLUMNS = 4
_SCORE = len("100.0 [100.0, 100.0]")
_BESIDES = 20
"""Characters: with less room beside a score, what else there is stands below it."""


def eval_tables(report: EvalReport, kinds: Kinds = NO_KINDS) -> list[RenderableType]:
    """Scores with 95 % intervals, then each model's differences from the first in words.

    kinds: the ways in which answers degenerated, where the draws are at hand. A row a model where
    that fits the terminal, else a row for every task and model.
    """
    names = names_of(report)
    long = _Long(report, kinds)
    few = len(parts_of(report)) <= _MOST_COLUMNS
    scores = [Fitting(Group(_wide_table(report, kinds), ""), long) if few else long]
    shown: list[RenderableType] = [
        Text(f"{described(report)}: % [95 % interval]", style="bold"),
        "",
        *(scores if parts_of(report) else []),
        *_pair_tables(report),
        *drift_tables(report, names),
    ]
    shown += [Text(line) for line in told(report)]
    shown += [Text(f"{short}: {name}", style="dim") for name, short in names.items()
              if short != name]  # fmt: skip
    return shown


@dataclass(frozen=True)
class _Long:
    """A heading for every part, and a line a model below it: as narrow as can be."""

    report: EvalReport
    kinds: Kinds

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> Iterator[RenderableType]:
        names = names_of(self.report)
        longest = min(max(map(len, names.values()), default=0), options.max_width // 3)
        beside = options.max_width - longest - _SCORE - 8 >= _BESIDES
        for part in parts_of(self.report):
            about = (part.label, f"{part.metric} {part.direction}", part.size)
            yield Text(" · ".join(about), style="bold")
            lines = Table.grid(padding=(0, 3, 0, 0))
            lines.add_column(min_width=longest, overflow="fold")
            lines.add_column(no_wrap=beside, min_width=_SCORE if beside else None, overflow="fold")
            for model, name in names.items():
                first, *others = self._cell(part, model)
                if beside:
                    lines.add_row(Text(name), Text(first), Text("; ".join(others)))
                else:
                    lines.add_row(Text(name), Text("\n".join((first, *others))))
            yield Padding(lines, (0, 0, 0, 2))
        yield ""

    def _cell(self, part: Part, model: str) -> Iterator[str]:
        return _cell(part, results_of(self.report), self.kinds, model)


def _wide_table(report: EvalReport, kinds: Kinds) -> Table:
    table, parts, found = _table("model"), parts_of(report), results_of(report)
    for part in parts:
        head = (part.label, f"{part.metric} {part.direction}", part.size)
        table.add_column("\n".join(head), no_wrap=True)
    for model, name in names_of(report).items():
        cells = ["\n".join(_cell(part, found, kinds, model)) for part in parts]
        table.add_row(Text(name), *map(Text, cells))
    return table


def _cell(part: Part, found: Found, kinds: Kinds, model: str) -> Iterator[str]:
    """The score, then what stands beside it."""
    result = found.get(part.of(model))
    if result is None:
        yield "–"
        return
    yield score(result)
    yield from besides(result, part, kinds.get((model, part.task, part.group), {}))


def _pair_tables(report: EvalReport) -> Iterator[RenderableType]:
    """For every two models that were compared a table, a line a task."""
    names = names_of(report)
    for a, b in dict.fromkeys((pair.a, pair.b) for pair in report.pairs):
        pairs = [pair for pair in report.pairs if (pair.a, pair.b) == (a, b)]
        title = f"{names.get(b, b)} against {names.get(a, a)}, paired by question"
        yield from (Text(title, style="bold"), _pair_table(report, pairs), "")
    if report.pairs:
        yield from (_legend(report.pairs), "")


def _legend(pairs: Sequence[PairResult]) -> str:
    said = (
        "Lower and higher: questions on which the model scores lower, or higher, than the one that "
        "it is compared with."
    )
    adjusted = sum(pair.p_adjusted is not None for pair in pairs)
    if not adjusted:
        return said
    return f"{said} p is adjusted by Holm's method over {adjusted} comparisons."


def _pair_table(report: EvalReport, pairs: Sequence[PairResult]) -> Table:
    table, parts = _table("task"), compared_parts(report)
    table.add_column("difference", ratio=1)
    for name in ("p", "lower", "higher"):
        table.add_column(name, justify="right", no_wrap=True)
    for pair in pairs:
        part = parts.get((pair.task, pair.group))
        metric, label = (part.metric, part.label) if part else ("", pair.task)
        p = pair.p if pair.p_adjusted is None else pair.p_adjusted
        table.add_row(
            Text(label),
            Text(in_words(pair, metric)),
            p_value(p),
            str(pair.a_only),
            str(pair.b_only),
        )
    return table


def _table(first: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 2, 0, 0), pad_edge=False, show_edge=False)
    table.add_column(first, overflow="fold")
    return table
