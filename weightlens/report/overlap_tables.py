"""`weightlens overlap` in the terminal."""

import math
from collections.abc import Collection, Iterator, Sequence

from rich.console import RenderableType
from rich.text import Text

from weightlens.report.banded import Banded, Line
from weightlens.report.certificate import certificate, interrupted, rounding_warning
from weightlens.report.colours import about_zero
from weightlens.report.grid import (
    SIDES,
    Grid,
    Side,
    column_labels,
    mean_cell,
    mean_over_chance,
    overlap_grid,
    short_modules,
    side_of,
    stack_grid,
)
from weightlens.report.heat import HeatBlocks, wrapped
from weightlens.report.names import short_models
from weightlens.report.numbers import median_z, number, percent, ratio, signed
from weightlens.report.training import TrainingRun, training_runs
from weightlens.survey.result import MatrixRecord, Mean, ModelRecord, OverlapReport, StackRecord
from weightlens.survey.summary import mean_of

_SHOWN: tuple[Side, ...] = ("column", "row")
_MODULE_HEADS = (
    ("module",), ("n", "k"), ("column", "z"), ("row", "z"),
    ("both",), ("weighted",), ("‖Δ‖/‖W‖",), ("rounding",),
)  # fmt: skip
_STACK_HEADS = (
    ("module",), ("layers", "experts"), ("‖Δ‖",), ("column", "z"), ("row", "z"), ("both", "z"),
)  # fmt: skip
_TRAINING_HEADS = (("step", "model"), ("‖Δ‖",), ("column",), ("row",), ("both",))


def overlap_tables(report: OverlapReport) -> list[RenderableType]:
    """For each model a summary by module and heatmaps; then training, and remarks on the whole."""
    shown: list[RenderableType] = []
    cut_short = interrupted(report)
    if cut_short is not None:
        shown.append(Text(f"This report was {cut_short}.", style="bold red"))
    for model in report.models:
        shown += _of_model(report, model)
    for run in training_runs(report.models):
        shown += _training(run)
    shown += certificate(report)
    shown.append(
        "Overlaps are means weighted by the energy of each delta; 1.00× is what a delta of "
        "random orientation reads; z is the median; weighted is column and row."
    )
    return shown


def _of_model(report: OverlapReport, model: ModelRecord) -> Iterator[RenderableType]:
    yield from (_module_table(report, model), "")
    warning = rounding_warning(report, model)
    if warning is not None:
        yield from (Text(f"warning: {warning}", style="bold red"), "")
    grid = overlap_grid(model)
    if len(grid.layers) > 1:
        yield _heat(grid)
    if model.stacks:
        yield from (_stack_table(model.stacks), "")
        stacks = stack_grid(model.stacks)
        if len(stacks.layers) > 1:
            yield _stack_heat(stacks)
    if any(m.more for m in model.matrices):
        yield from (_more_table(model), "")
    remarks = list(_remarks(model))
    yield from (*remarks, "") if remarks else ()


def _heat(grid: Grid) -> HeatBlocks:
    maps = {f"{side} overlap ÷ chance": grid.ratios(side) for side in _SHOWN}
    return HeatBlocks("layer", grid.layer_names, grid.columns, maps)


def _stack_heat(grid: Grid) -> HeatBlocks:
    """z alone: over chance, a stack reads what the heatmap of all matrices has for its experts."""
    maps = {f"experts together: z of {side} overlap": grid.zs(side) for side in _SHOWN}
    return HeatBlocks(
        "layer", grid.layer_names, grid.columns, maps, write=signed, colour=about_zero
    )


def _module_table(report: OverlapReport, model: ModelRecord) -> Banded:
    k = f"{report.subspace.by} {report.subspace.value:g}"
    title = f"{model.model} ({model.kind}) against {report.against}, subspace by {k}"
    lines = []
    for (module, part), label in column_labels(model.matrices).items():
        group = [m for m in model.matrices if (m.module, m.part) == (module, part)]
        if part is None:
            lines.append(Line(_module_row(_name(label), model.summary.modules[module], group)))
        else:
            lines.append(Line(_module_row(f" .{part}", mean_of(group), group), style="dim"))
    whole = [m for m in model.matrices if m.part is None]
    lines.append(Line(_module_row("all", model.summary.all, whole), style="bold", apart=True))
    return Banded(title, _MODULE_HEADS, lines)


def _module_row(name: str, mean: Mean, matrices: Sequence[MatrixRecord]) -> list[str | Text]:
    ranks = {m.subspace.rank for m in matrices}
    relative = [m.delta.relative_norm for m in matrices if m.delta.relative_norm is not None]
    return [
        name,
        str(mean.matrices),
        _range(ranks),
        _against_chance(mean.column_by_energy, mean.column_over_chance),
        median_z([m.column.z for m in matrices]),
        _against_chance(mean.row_by_energy, mean.row_over_chance),
        median_z([m.row.z for m in matrices]),
        ratio(mean.both_over_chance),
        Text.assemble(
            ratio(mean.weighted_column_over_chance), " ", ratio(mean.weighted_row_over_chance)
        ),
        number(sum(relative) / len(relative) if relative else None),
        percent(mean.rounding_share),
    ]


def _stack_table(stacks: Sequence[StackRecord]) -> Banded:
    """A line a module: means over its layers, by the energy of the stacks' deltas."""
    lines = []
    for module, label in short_modules([s.module for s in stacks]).items():
        group = [s for s in stacks if s.module == module]
        cells: list[str | Text] = []
        for side in SIDES:
            cell = mean_cell(group, side)
            cells += [
                Text("–") if cell is None else _against_chance(cell.overlap, cell.ratio),
                median_z([side_of(s, side).z for s in group]),
            ]
        norm = math.hypot(*(s.delta_norm for s in group))
        experts = _range({s.experts for s in group})
        lines.append(Line((_name(label), str(len(group)), experts, f"{norm:.4g}", *cells)))
    title = "experts together, each stack as one block-diagonal matrix"
    return Banded(title, _STACK_HEADS, lines)


def _training(run: TrainingRun) -> Iterator[RenderableType]:
    """A line a checkpoint over all matrices, then by module."""
    of = "" if run.name is None else f" of {run.name}"
    names = short_models([model.model for model in run.models])
    steps = [str(step) for step in run.steps]
    wide = max(map(len, steps))
    lines = []
    for step, name, model in zip(steps, names, run.models, strict=True):
        mean = model.summary.all
        lines.append(
            Line(
                (
                    step.rjust(wide),
                    name,
                    f"{mean.delta_norm:.4g}",
                    _against_chance(mean.column_by_energy, mean.column_over_chance),
                    _against_chance(mean.row_by_energy, mean.row_over_chance),
                    _against_chance(mean.both_by_energy, mean.both_over_chance),
                )
            )
        )
    yield from (Banded(f"over training{of}, all matrices", _TRAINING_HEADS, lines), "")
    yield _training_heat(run)


def _training_heat(run: TrainingRun) -> HeatBlocks:
    modules = short_modules([name for model in run.models for name in model.summary.modules])

    def over_chance(side: Side) -> list[list[float | None]]:
        means = [[model.summary.modules.get(name) for name in modules] for model in run.models]
        return [[mean_over_chance(mean, side) for mean in line] for line in means]

    maps = {f"{side} overlap ÷ chance": over_chance(side) for side in _SHOWN}
    return HeatBlocks("step", [*map(str, run.steps)], [*modules.values()], maps)


def _more_table(model: ModelRecord) -> Banded:
    """Means of the further metrics by module; the curve is left to JSON and CSV."""
    whole = [m for m in model.matrices if m.part is None]
    names = [n for n in next(m.more for m in whole if m.more) if "_at_" not in n]
    modules = short_modules([m.module for m in whole])
    lines = []
    for name in names:
        cells = []
        for module in modules:
            values = [m.more.get(name) for m in whole if m.module == module]
            known = [v for v in values if v is not None]
            cells.append(f"{sum(known) / len(known):.3g}" if known else "–")
        lines.append(Line((name, *cells)))
    title = f"further metrics of {model.model}, means by module"
    return Banded(title, (("metric",), *((_name(m),) for m in modules.values())), lines)


def _remarks(model: ModelRecord) -> Iterator[str]:
    whole = [m for m in model.matrices if m.part is None]
    unchanged = sum(m.column.overlap is None for m in whole)
    if whole and unchanged == len(whole):
        yield f"{model.model} equals the base: every delta is zero, so there is nothing to overlap."
    elif unchanged:
        yield f"{unchanged} matrices are unchanged and left out of the means."
    for skipped in model.skipped:
        if "rows" in skipped.reason:
            yield f"{skipped.name} was left out: {skipped.reason}."


def _name(module: str) -> str:
    return "\n".join(wrapped(module, 14))


def _range(values: Collection[int]) -> str:
    return "–".join(map(str, sorted({min(values), max(values)}))) if values else ""


def _against_chance(overlap: float | None, over: float | None) -> Text:
    return Text.assemble(number(overlap), " ", ratio(over))
