"""Results as rich tables. What colour says, numbers say too."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from weightlens.evaluate.result import EvalReport, TaskResult
from weightlens.merge.record import MergeReport, summarise_strips
from weightlens.report.grid import Grid, overlap_grid, short_modules
from weightlens.report.sentences import findings
from weightlens.report.story import Story
from weightlens.survey.result import MatrixRecord, Mean, ModelRecord, OverlapReport


def overlap_tables(report: OverlapReport) -> list[RenderableType]:
    """For each model a summary by module, and column and row overlap by layer and module."""
    tables: list[RenderableType] = []
    for model in report.models:
        tables.append(_module_table(report, model))
        grid = overlap_grid(model)
        if len(grid.layers) > 1:
            tables.append(_layer_table(grid))
        if any(m.more for m in model.matrices):
            tables.append(_more_table(model))
        tables.extend(_remarks(model))
    return tables


def _module_table(report: OverlapReport, model: ModelRecord) -> Table:
    k = f"{report.subspace.by} {report.subspace.value:g}"
    title = f"{model.model} ({model.kind}) against {report.base}, subspace by {k}"
    table = _table(title, "module")
    for name in ("n", "k", "column", "z", "row", "z", "both", "weighted", "‖Δ‖/‖W‖", "rounding"):
        table.add_column(name, justify="right")
    short = short_modules([m.module for m in model.matrices])
    groups = {
        name: [m for m in model.matrices if m.module == name] for name in model.summary.modules
    }
    for name, mean in model.summary.modules.items():
        table.add_row(*_module_row(short[name], mean, groups[name]))
    table.add_section()
    table.add_row(*_module_row("all", model.summary.all, model.matrices), style="bold")
    return table


def _module_row(name: str, mean: Mean, matrices: Sequence[MatrixRecord]) -> list[str | Text]:
    ranks = [m.subspace.rank for m in matrices]
    relative = [m.delta.relative_norm for m in matrices if m.delta.relative_norm is not None]
    return [
        name,
        str(mean.matrices),
        str(ranks[0]) if len(set(ranks)) == 1 else f"{min(ranks)}–{max(ranks)}",
        _against_chance(mean.column_by_energy, mean.column_over_chance),
        _z([m.column.z for m in matrices]),
        _against_chance(mean.row_by_energy, mean.row_over_chance),
        _z([m.row.z for m in matrices]),
        _ratio(mean.both_over_chance),
        Text.assemble(
            _ratio(mean.weighted_column_over_chance), " ", _ratio(mean.weighted_row_over_chance)
        ),
        _number(sum(relative) / len(relative) if relative else None),
        _percent(mean.rounding_share),
    ]


def _table(title: str, first: str) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, title_style="bold")
    table.add_column(first)
    return table


def _layer_table(grid: Grid) -> Table:
    table = _table("overlap ÷ chance by layer: column row", "layer")
    for module in grid.modules:
        table.add_column(module, justify="right")
    for i, layer in enumerate(grid.layers):
        cells = [
            Text.assemble(_ratio(column), " ", _ratio(row))
            for column, row in zip(grid.column[i], grid.row[i], strict=True)
        ]
        table.add_row("–" if layer is None else str(layer), *cells)
    return table


def _more_table(model: ModelRecord) -> Table:
    """Means of the further metrics by module; the curve is left to JSON and CSV."""
    names = [n for n in next(m.more for m in model.matrices if m.more) if "_at_" not in n]
    table = _table(f"further metrics of {model.model}, means by module", "metric")
    short = short_modules([m.module for m in model.matrices])
    for module in model.summary.modules:
        table.add_column(short[module], justify="right")
    for name in names:
        cells = []
        for module in model.summary.modules:
            values = [m.more.get(name) for m in model.matrices if m.module == module]
            known = [v for v in values if v is not None]
            cells.append(f"{sum(known) / len(known):.3g}" if known else "–")
        table.add_row(name, *cells)
    return table


def _remarks(model: ModelRecord) -> Iterator[str]:
    unchanged = sum(m.column.overlap is None for m in model.matrices)
    if unchanged == len(model.matrices):
        yield f"{model.model} equals the base: every delta is zero, so there is nothing to overlap."
    elif unchanged:
        yield f"{unchanged} matrices are unchanged and left out of the means."
    for skipped in model.skipped:
        if "rows" in skipped.reason:
            yield f"{skipped.name} was left out: {skipped.reason}."
    bounds = [m.subspace.angle_bound for m in model.matrices]
    unclear = sum(b is None for b in bounds)
    known = [b for b in bounds if b is not None]
    if known:
        yield f"Subspaces certified: the largest error angle is below {max(known):.1e} (sine)."
    if unclear:
        yield (f"{unclear} subspaces are not unique (σ_k = σ_k+1 within rounding): "
               "their overlaps depend on an arbitrary choice.")  # fmt: skip
    yield ("Overlaps are means weighted by the energy of each delta; 1.00× is what a delta of "
           "random orientation reads; z is the median; weighted is column and row.")  # fmt: skip


def merge_tables(report: MergeReport, out: Path) -> list[RenderableType]:
    """What was written, and what the strips did and what of it survived rounding."""
    parts: list[RenderableType] = [f"warning: {warning}" for warning in report.warnings]
    summaries = summarise_strips(report)
    if summaries:
        table = _table("overlap with the stripped subspace, mean by delta energy", "side")
        for name in ("matrices", "untouched", "chance", "before", "after", "merged", "as written"):
            table.add_column(name, justify="right")
        for s in summaries:
            numbers = [_number(v) for v in (s.chance, s.before, s.after, s.merged, s.written)]
            table.add_row(s.side, str(s.matrices), str(s.untouched), *numbers)
        parts.append(table)
        if all(s.untouched == s.matrices for s in summaries):
            parts.append("No matrix was above its target: the strip changed nothing.")
    size = f"{report.tensors} tensors, {report.bytes / 1e6:,.1f} MB"
    parts.append(f"{out}: {size}; record in {out / 'weightlens.json'}")
    return parts


def eval_tables(report: EvalReport) -> list[RenderableType]:
    """Scores with intervals, and each model's difference from the first."""
    title = f"suite {report.suite}, {report.settings['split']} split, greedy: % [95 % interval]"
    table = _table(title, "model")
    tasks = [(t.task, t.metric, t.n) for t in report.models[0].tasks]
    for name, metric, n in tasks:
        table.add_column(f"{name}\n{metric}, n={n}", justify="right")
    table.add_column("truncated", justify="right")
    table.add_column("degenerate", justify="right")
    for model in report.models:
        worst_cut = max(t.truncated or 0.0 for t in model.tasks)
        worst_empty = max(t.degenerate or 0.0 for t in model.tasks)
        table.add_row(
            model.model,
            *[_score(t) for t in model.tasks],
            _percent(worst_cut),
            _percent(worst_empty),
        )
    parts: list[RenderableType] = [table]
    if report.pairs:
        parts.append(_pair_table(report))
    return parts


def _pair_table(report: EvalReport) -> Table:
    table = _table(f"difference from {report.pairs[0].a} in points, paired by question", "model")
    table.add_column("task")
    for name in ("difference", "95 % interval", "p", "lost", "won", "detectable"):
        table.add_column(name, justify="right")
    for pair in report.pairs:
        low, high = pair.ci95
        table.add_row(
            pair.b,
            pair.task,
            f"{100 * pair.difference:+.1f}",
            f"{100 * low:+.1f} … {100 * high:+.1f}",
            f"{pair.p:.2g}",
            str(pair.a_only),
            str(pair.b_only),
            f"{100 * pair.detectable:.1f}",
        )
    return table


def story_tables(story: Story, out: Path) -> list[RenderableType]:
    """The demo's one table, and what it says in sentences."""
    table = _table("test split, % [95 % interval]; merges of the full delta at matched refusal", "")
    for name in ("weight", "reasoning", "refusal", "over-refusal", "reasoning vs scaling"):
        table.add_column(name, justify="right")
    for row in story.rows:
        versus = "" if row.versus is None else (
            f"{100 * row.versus.difference:+.1f} "
            f"[{100 * row.versus.ci95[0]:+.1f}, {100 * row.versus.ci95[1]:+.1f}]"
        )  # fmt: skip
        weight = "" if row.weight is None else f"{row.weight:.3f}"
        table.add_row(
            row.name,
            weight if row.reached else f"{weight} (not reached)",
            *[_score(r) for r in (row.reasoning, row.refusal, row.over_refusal)],
            versus,
            style={"written": "bold", "control": "dim"}.get(row.kind, ""),
        )
    lines = [f"· {sentence}" for sentence in findings(story)]
    return [table, *lines, f"{story.seconds:.0f} s. Page: {out / 'demo.html'}"]


def _score(result: TaskResult) -> str:
    low, high = result.ci95
    return f"{100 * result.value:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.1e}" if 0 < abs(value) < 5e-4 else f"{value:.3f}"


def _percent(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{100 * value:.1f} %" if value < 10 else f"{value:.0f}×"


def _ratio(value: float | None) -> Text:
    if value is None:
        return Text("–")
    style = "red" if value >= 2 else "yellow" if value >= 1.25 else ""
    return Text(f"{value:.2f}×", style=style)


def _against_chance(overlap: float | None, ratio: float | None) -> Text:
    return Text.assemble(_number(overlap), " ", _ratio(ratio))


def _z(values: Sequence[float | None]) -> str:
    known = sorted(v for v in values if v is not None)
    return f"{known[len(known) // 2]:+.1f}" if known else "–"
