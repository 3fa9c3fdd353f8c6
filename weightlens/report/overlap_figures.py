"""Interactive figures (plotly) of where in a model the overlap is: heatmaps, boxes, bars."""

from collections.abc import Callable
from typing import Any

import plotly.graph_objects as go

from weightlens.report.colours import BOTH, CELL_INK, COLUMN, GREY, ROW, about_chance
from weightlens.report.grid import Cell, Grid, Side, mean_over_chance
from weightlens.report.legend import Look

_SCALE = [(x / 2, about_chance(x)) for x in (0.0, 1.0, 2.0)]


def overlap_heatmap(grid: Grid, side: Side) -> Any:
    """One side's overlap over chance, layer by module, with numbers in the cells."""
    return _heatmap(grid, side, lambda cell: f"{cell.ratio:.2f}")


def stack_heatmap(grid: Grid, side: Side) -> Any:
    """The same for stacks of experts, with z beside the ratio where there is room."""
    narrow = len(grid.columns) > 3

    def text(cell: Cell) -> str:
        z = "" if narrow or cell.z is None else f"  z {cell.z:+.1f}"
        return f"{cell.ratio:.2f}{z}"

    return _heatmap(grid, side, text)


def _heatmap(grid: Grid, side: Side, text: Callable[[Cell], str]) -> Any:
    plane = grid.planes[side]
    figure = go.Figure()
    figure.add_heatmap(
        x=grid.columns,
        y=grid.layer_names,
        z=grid.ratios(side),
        zmin=0,
        zmax=2,  # symmetric, so that chance is white
        colorscale=_SCALE,
        showscale=False,
        text=[["" if cell is None else text(cell) for cell in line] for line in plane],
        texttemplate="%{text}",
        textfont={"color": CELL_INK},
        customdata=[[_told(cell) for cell in line] for line in plane],
        hovertemplate="layer %{y}, %{x}<br>%{customdata}<extra></extra>",
        hoverongaps=False,
        xgap=1,
        ygap=1,
    )
    figure.update_layout(
        xaxis={"type": "category", "tickangle": -40, "automargin": True, "showgrid": False},
        yaxis={
            "title": "layer", "autorange": "reversed", "type": "category", "automargin": True,
            "showgrid": False,
        },
        margin={"l": 40, "r": 10, "t": 10, "b": 30},
        height=110 + _line_height(len(plane)) * len(plane),
    )  # fmt: skip
    return figure


def _line_height(lines: int) -> int:
    return 32 if lines <= 16 else 22 if lines <= 36 else 17


def _told(cell: Cell | None) -> str:
    if cell is None:
        return ""
    z = "" if cell.z is None else f", z {cell.z:+.1f}"
    return f"{cell.ratio:.3f} × chance (overlap {cell.overlap:.4g}, chance {cell.chance:.4g}{z})"


def distribution(look: Look, side: Side) -> Any:
    """A box for each module and model over its layers, every layer a point."""
    figure = go.Figure()
    for model in look.models:
        prefix = f"{model.name}, " if look.several else ""
        for j, module in enumerate(model.grid.columns):
            values = [line[j] for line in model.grid.ratios(side)]
            figure.add_box(
                x=[module] * len(values),
                y=values,
                customdata=[f"{prefix}{module}, layer {name}" for name in model.grid.layer_names],
                name=module,
                meta=[module, model.key],
                visible=look.visible(module, model),
                offsetgroup=model.name,
                boxpoints="all",
                jitter=0.5,
                pointpos=0,
                marker={"size": 4, "color": look.colours[module], "opacity": 0.75},
                line={"width": 1.2, "color": look.colours[module]},
                fillcolor="rgba(127,140,154,0.15)",
                hoveron="points",
                hovertemplate="%{customdata}: %{y:.3f} × chance<extra></extra>",
            )
    add_chance(figure)
    figure.update_layout(
        boxmode="group",
        showlegend=False,
        xaxis={"type": "category", "tickangle": -40, "automargin": True, "showgrid": False},
        yaxis={"title": "× chance", "rangemode": "tozero", "automargin": True},
        margin={"l": 40, "r": 10, "t": 10, "b": 30},
        height=330,
    )
    return figure


def side_by_side(look: Look) -> Any:
    """Bars for column, row and both of every model, over all its matrices."""
    figure = go.Figure()
    names = [f"{model.name} ({model.record.kind})" for model in look.models]
    colours: dict[Side, str] = {"column": COLUMN, "row": ROW, "both": BOTH}
    for side, colour in colours.items():
        values = [mean_over_chance(model.record.summary.all, side) for model in look.models]
        figure.add_bar(
            x=names,
            y=values,
            name=side,
            marker={"color": colour},
            text=["" if value is None else f"{value:.2f}" for value in values],
            textposition="outside",
            cliponaxis=False,
            hovertemplate=f"%{{x}}, {side}: %{{y:.3f}} × chance<extra></extra>",
        )
    add_chance(figure)
    figure.update_layout(
        barmode="group",
        xaxis={"automargin": True, "showgrid": False, "type": "category"},
        yaxis={"title": "overlap ÷ chance", "automargin": True},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        margin={"l": 50, "r": 10, "t": 40, "b": 30},
        height=340,
    )
    return figure


def add_chance(figure: Any) -> None:
    """A line at 1, where a delta of random orientation lies."""
    figure.add_hline(y=1, line={"dash": "dot", "width": 1.5, "color": GREY})
