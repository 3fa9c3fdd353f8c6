"""`weightlens compare` in the terminal: every two models over all matrices, and by module."""

import math
from collections.abc import Iterator, Sequence

from rich.console import RenderableType
from rich.text import Text

from weightlens.report.banded import Banded, Line
from weightlens.report.certificate import interrupted
from weightlens.report.grid import short_modules
from weightlens.report.names import short_models
from weightlens.survey.compare_result import CompareReport, PairRecord, Subspaces

EXPLAINED = (
    "Cosine 0, sign conflict 50 %, alignment 1 and distance 1 are what unrelated deltas read; "
    "the chordal distance is between the deltas' own subspaces. Interference grows with the "
    "number of directions: compare it at one --rank."
)


_PAIR_HEADS = (
    ("a", "b"), ("cosine",), ("sign\nconflict",), ("a in b\n÷ chance", "b in a\n÷ chance"),
    ("interference",),
)  # fmt: skip
_MODULE_HEADS = (
    ("module",), ("cosine",), ("sign\nconflict",),
    ("column distance\n÷ chance", "row distance\n÷ chance"), ("interference",),
)  # fmt: skip


def compare_tables(report: CompareReport) -> list[RenderableType]:
    """A line a pair, then for each pair a line a module."""
    by = f"{report.subspace.by} {report.subspace.value:g}"
    title = f"fine-tunes of {report.base}, subspaces of their deltas by {by}"
    names = short_models(report.models)
    short = dict(zip(report.models, names, strict=True))
    rows = [(short.get(a, a), short.get(b, b), *numbers) for a, b, *numbers in pair_rows(report)]
    parts: list[RenderableType] = []
    cut_short = interrupted(report)
    if cut_short is not None:
        parts.append(Text(f"This report was {cut_short}.", style="bold red"))
    parts += [Banded(title, _PAIR_HEADS, [*map(Line, rows)]), ""]
    for a in range(len(names)):
        for b in range(a + 1, len(names)):
            title = f"{names[a]} and {names[b]}, means by module"
            lines = [Line(row) for row in module_rows(report, a, b)]
            parts += [Banded(title, _MODULE_HEADS, lines), ""]
    parts.append(EXPLAINED)
    parts += [Text(f"{short[name]}: {name}", style="dim") for name in short if short[name] != name]
    return parts


def pair_rows(report: CompareReport) -> Iterator[list[str]]:
    """Every two models: their names, cosine, sign conflict, alignment both ways, interference."""
    for pair in report.pairs:
        aligned = pair.alignment_over_chance or (None, None)
        yield [
            pair.a,
            pair.b,
            _number(pair.cosine),
            _percent(pair.sign_conflict),
            *[_number(ratio) for ratio in aligned],
            f"{pair.interference:.4g}",
        ]


def module_rows(report: CompareReport, a: int, b: int) -> Iterator[list[str]]:
    """Means of two models by module: cosine, sign conflict, distances, interference."""
    groups: dict[str, list[PairRecord]] = {}
    for matrix in report.matrices:
        found = [p for p in matrix.pairs if (p.a, p.b) == (a, b)]
        groups.setdefault(matrix.module, []).extend(found)
    short = short_modules(list(groups))
    for module, pairs in groups.items():
        conflicts = [p.sign_conflict for p in pairs if p.sign_conflict is not None]
        yield [
            short[module],
            _number(_mean([p.cosine for p in pairs])),
            _percent(_mean(conflicts)),
            _number(_mean(_distances([p.columns for p in pairs]))),
            _number(_mean(_distances([p.rows for p in pairs]))),
            _number(_mean([p.interference for p in pairs])),
        ]


def _mean(values: list[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"


def _distances(subspaces: Sequence[Subspaces]) -> list[float]:
    """Chordal distances over chance, where chance is not zero."""
    return [s.chordal / s.chordal_chance for s in subspaces if s.chordal_chance]
