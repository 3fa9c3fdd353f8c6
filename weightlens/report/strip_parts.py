"""What a merge's strips did to the overlap with the base: in all, and by layer and module."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from weightlens.merge.record import (
    MatrixRecord,
    MergeReport,
    Sides,
    StripRecord,
    StripSummary,
    summarise_strips,
)
from weightlens.report.bar_blocks import Bar, Block
from weightlens.report.grid import SIDES, Cell, Grid, Side, short_modules
from weightlens.report.names import short_models
from weightlens.report.numbers import number


@dataclass(frozen=True)
class Stripped:
    """One strip of one source. source: a short name of `model`; step: which of its strips;
    subspace: the base's or a random one."""

    model: str
    source: str
    step: int
    subspace: str
    summary: StripSummary


def strips_of(report: MergeReport) -> list[Stripped]:
    """In the order of the recipe; empty where nothing was stripped."""
    keys: dict[tuple[str, int], str] = {}
    for matrix in report.matrices:
        for source, step, strip in _numbered(matrix):
            keys.setdefault((source, step), strip.subspace)
    models = [*dict.fromkeys(source for source, _ in keys)]
    names = dict(zip(models, short_models(models), strict=True))
    return [
        Stripped(source, names[source], step, subspace, summary)
        for ((source, step), subspace), summary in zip(
            keys.items(), summarise_strips(report), strict=True
        )
    ]


def strip_block(strip: Stripped) -> Block:
    """The overlap before, after by algebra, of the merged delta, and as written; chance marked."""
    s = strip.summary
    stages = {
        "before": s.before,
        "stripped": s.after,
        "merged": s.merged,
        "as written": s.written,
    }
    scale = 1.15 * max(*stages.values(), s.chance) or 1.0
    bars = [
        Bar(
            name=name,
            value=number(value),
            interval=f"{value / s.chance:.2f} × chance" if s.chance else "",
            at=value / scale,
            mark=s.chance / scale,
            strong=name == "as written",
        )
        for name, value in stages.items()
    ]
    of = "a random subspace (control)" if strip.subspace == "random" else "the base"
    untouched = f", {s.untouched} untouched" if s.untouched else ""
    about = f"of {strip.source} with {of} · chance {number(s.chance)} · {s.matrices} matrices"
    return Block(f"{s.side} overlap", about + untouched, bars)


def strip_grids(report: MergeReport) -> Iterator[tuple[str, Side, Grid]]:
    """Maps layer by module, with a title and the side to show: before each strip, and as written
    against the subspace of the last one."""
    for strip in strips_of(report):
        before = _grid(report.matrices, lambda m, s=strip: _before(m, s))  # type: ignore[misc]
        for side in _shown(strip.summary.side):
            yield f"{strip.source}, before its strip", side, before
    last = {m.strips[-1].side for m in report.matrices if m.strips}
    written = _grid(report.matrices, _written)
    for side in dict.fromkeys(side for one in sorted(last) for side in _shown(one)):
        yield "the merge, as written", side, written


def _shown(side: str) -> tuple[Side, ...]:
    return tuple(one for one in SIDES if one == side) or ("column", "row")


@dataclass(frozen=True)
class _Reading:
    overlap: Sides
    chance: Sides
    norm: float


def _numbered(matrix: MatrixRecord) -> Iterator[tuple[str, int, StripRecord]]:
    """Every strip of a matrix with its source and its place among that source's strips."""
    seen: dict[str, int] = {}
    for strip in matrix.strips:
        step = seen[strip.source] = seen.get(strip.source, -1) + 1
        yield strip.source, step, strip


def _before(matrix: MatrixRecord, wanted: Stripped) -> _Reading | None:
    for source, step, strip in _numbered(matrix):
        if (source, step) == (wanted.model, wanted.step) and strip.before is not None:
            return _Reading(strip.before, strip.chance, strip.delta_norm)
    return None


def _written(matrix: MatrixRecord) -> _Reading | None:
    if matrix.written is None or not matrix.strips:
        return None
    return _Reading(matrix.written, matrix.strips[-1].chance, matrix.delta_norm)


def _grid(
    matrices: Sequence[MatrixRecord], read: Callable[[MatrixRecord], _Reading | None]
) -> Grid:
    found: dict[tuple[int | None, str], list[_Reading]] = {}
    for matrix in matrices:
        reading = read(matrix)
        if reading is not None:
            found.setdefault((matrix.layer, matrix.module), []).append(reading)
    modules = short_modules([m.module for m in matrices if m.strips])
    layers = sorted({layer for layer, _ in found}, key=lambda x: -1 if x is None else x)
    planes = {
        side: tuple(
            tuple(_cell(found.get((layer, module), ()), side) for module in modules)
            for layer in layers
        )
        for side in SIDES
    }
    return Grid(tuple(layers), tuple(modules.values()), frozenset(), planes)


def _cell(readings: Sequence[_Reading], side: Side) -> Cell | None:
    """Experts in one place are averaged, by the energy of their deltas."""
    energy = sum(r.norm**2 for r in readings)
    chance = sum(_of(r.chance, side) * r.norm**2 for r in readings)
    if not energy or not chance:
        return None
    overlap = sum(_of(r.overlap, side) * r.norm**2 for r in readings)
    return Cell(overlap / energy, chance / energy, None)


def _of(sides: Sides, side: Side) -> float:
    return {"column": sides.column, "row": sides.row, "both": sides.both}[side]
