"""`weightlens overlap --html`: one self-contained page of an overlap report."""

import json
from html import escape
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

from weightlens.report.figures import overlap_heatmap
from weightlens.report.grid import overlap_grid
from weightlens.report.page import figure_slot, render_page
from weightlens.survey.result import Mean, ModelRecord, OverlapReport

_COLUMNS = ("model", "matrix", "k", "column", "÷ chance", "z", "row", "÷ chance", "z", "both",
            "‖Δ‖/‖W‖", "rounding", "angle bound")  # fmt: skip

_SORTING = """
for (const table of document.querySelectorAll('table.sortable')) {
  const body = table.tBodies[0];
  table.tHead.rows[0].querySelectorAll('button').forEach((button, i) => {
    button.addEventListener('click', () => {
      const up = button.getAttribute('aria-sort') !== 'ascending';
      table.querySelectorAll('button').forEach(b => b.removeAttribute('aria-sort'));
      button.setAttribute('aria-sort', up ? 'ascending' : 'descending');
      const key = row => row.cells[i].dataset.value ?? row.cells[i].textContent;
      const rows = [...body.rows].sort((a, b) => {
        const x = key(a), y = key(b), numeric = x !== '' && y !== '' && !isNaN(x) && !isNaN(y);
        return (numeric ? x - y : String(x).localeCompare(String(y))) * (up ? 1 : -1);
      });
      body.append(...rows);
    });
  });
}
"""


def write_overlap_page(report: OverlapReport, file: Path) -> None:
    """Summary, heatmaps, distribution over layers, models side by side, every matrix sortable."""
    figures: dict[str, Any] = {}
    for i, model in enumerate(report.models):
        figures[f"grid-{i}"] = overlap_heatmap(overlap_grid(model), _name(model))
    for side in ("column", "row"):
        figures[f"layers-{side}"] = _layers(report, side)
    if len(report.models) > 1:
        figures["models"] = _side_by_side(report)
    heading = f"Overlap with {escape(report.base)}"
    body = "\n".join(
        (
            f"<h1>{heading}</h1>",
            f"<p class='lead'>Subspaces by {report.subspace.by} {report.subspace.value:g}. 1 × is "
            "what a delta of random orientation reads. weightlens "
            f"{escape(report.weightlens)}.</p>",
            _summary(report),
            "<h2>By layer and module</h2>",
            *(figure_slot(name) for name in figures if name.startswith("grid")),
            *(["<h2>Models side by side</h2>", figure_slot("models")] if "models" in figures
              else []),
            "<h2>Over the layers</h2>",
            figure_slot("layers-column"),
            figure_slot("layers-row"),
            "<h2>Every matrix</h2>",
            _table(report),
            f"<script>{_SORTING}</script>",
        )
    )  # fmt: skip
    title = f"Overlap with {report.base}"
    file.write_text(render_page(title, body, figures), encoding="utf-8")


def _name(model: ModelRecord) -> str:
    return f"{model.model} ({model.kind})"


def _layers(report: OverlapReport, side: str) -> Any:
    """One line a module and model: overlap over chance against the layer."""
    figure = go.Figure()
    for number, model in enumerate(report.models):
        grid = overlap_grid(model)
        values = grid.column if side == "column" else grid.row
        for j, module in enumerate(grid.modules):
            prefix = f"{Path(model.model).name}: " if len(report.models) > 1 else ""
            figure.add_scatter(
                x=[str(layer) for layer in grid.layers],
                y=[line[j] for line in values],
                name=prefix + module,
                mode="lines+markers",
                line={"dash": ("solid", "dash", "dot", "dashdot")[number % 4], "width": 1.5},
                hovertemplate=f"{module}, layer %{{x}}: %{{y:.3f}} × chance<extra></extra>",
            )
    figure.add_hline(y=1, line={"dash": "dot", "width": 1}, annotation_text="chance")
    figure.update_layout(
        title=f"{side} overlap ÷ chance",
        xaxis={"title": "layer", "type": "category"},
        yaxis={"rangemode": "tozero"},
        legend={"orientation": "h", "y": -0.25},
        margin={"l": 50, "r": 10, "t": 50, "b": 60},
        height=420,
    )
    return figure


def _side_by_side(report: OverlapReport) -> Any:
    figure = go.Figure()
    names = [_name(model) for model in report.models]
    for side in ("column", "row", "both"):
        values = [getattr(model.summary.all, f"{side}_over_chance") for model in report.models]
        figure.add_bar(x=names, y=values, name=side)
    figure.add_hline(y=1, line={"dash": "dot", "width": 1}, annotation_text="chance")
    figure.update_layout(
        barmode="group", yaxis={"title": "overlap ÷ chance"}, height=360,
        margin={"l": 60, "r": 10, "t": 20, "b": 60},
    )  # fmt: skip
    return figure


def _summary(report: OverlapReport) -> str:
    lines = "".join(f"<li>{escape(_sentence(model))}</li>" for model in report.models)
    return f"<ul>{lines}</ul>"


def _sentence(model: ModelRecord) -> str:
    mean: Mean = model.summary.all
    if mean.column_over_chance is None:
        return f"{_name(model)}: equals the base; every delta is zero."
    said = (
        f"{_name(model)}: column {mean.column_over_chance:.2f} × chance, "
        f"row {mean.row_over_chance:.2f} ×, both {mean.both_over_chance:.2f} × "
        f"over {mean.matrices} matrices"
    )
    if mean.rounding_share is not None:
        said += f"; rounding alone would be {100 * mean.rounding_share:.2g} % of the delta"
    return said + "."


def _table(report: OverlapReport) -> str:
    head = "".join(f"<th><button type='button'>{name}</button></th>" for name in _COLUMNS)
    rows = []
    for model in report.models:
        for m in model.matrices:
            name = m.name if m.expert is None else f"{m.name} [{m.expert}]"
            numbers = (
                m.subspace.rank, m.column.overlap, _over(m.column.overlap, m.column.chance),
                m.column.z, m.row.overlap, _over(m.row.overlap, m.row.chance), m.row.z,
                m.both.overlap, m.delta.relative_norm, m.delta.rounding_share,
                m.subspace.angle_bound,
            )  # fmt: skip
            cells = "".join(_cell(value) for value in numbers)
            rows.append(f"<tr><td>{escape(Path(model.model).name)}</td>"
                        f"<td>{escape(name)}</td>{cells}</tr>")  # fmt: skip
    return (
        "<div class='scroll'><table class='sortable'>"
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _over(overlap: float | None, chance: float) -> float | None:
    return None if overlap is None or not chance else overlap / chance


def _cell(value: int | float | None) -> str:
    if value is None:
        return "<td data-value=''>–</td>"
    return f"<td data-value='{json.dumps(value)}'>{value:.3g}</td>"
