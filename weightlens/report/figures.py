"""Interactive figures (plotly) from merge experiments."""

from typing import Any

import plotly.graph_objects as go

from weightlens.report.colours import BOTH, COLUMN, GREY, ROW
from weightlens.report.story import Curve, Row, frontier

_SCALING = "#7f8c8d"
_SYMBOLS = {"merge": "circle", "control": "x", "written": "star"}
_MODEL_SYMBOLS = ("square", "diamond", "triangle-up", "cross")


def colour_of(method: str) -> str:
    """The colour of a method by its name: one for each side of a strip, random ones alike."""
    for word, colour in (("column", COLUMN), ("row", ROW), ("scaling", _SCALING)):
        if word in method:
            return colour
    return BOTH


def frontier_plot(rows: list[Row], curves: list[Curve], wanted: float) -> Any:
    """Reasoning against refusal: each method over its weights, the frontier, and what was reported.

    Lines are the validation split, markers with error bars the test split.
    """
    figure = go.Figure()
    for curve in curves:
        figure.add_scatter(
            x=[p.refusal for p in curve.points],
            y=[p.reasoning for p in curve.points],
            text=[f"weight {p.weight:g}" for p in curve.points],
            name=f"{curve.name}, by weight",
            mode="lines+markers",
            marker={"size": 5, "color": colour_of(curve.name)},
            line={"width": 1.5, "color": colour_of(curve.name)},
            hovertemplate="%{text}: refusal %{x:.3f}, reasoning %{y:.3f}<extra></extra>",
        )
    best = frontier(curves)
    figure.add_scatter(
        x=[p.refusal for p in best],
        y=[p.reasoning for p in best],
        name="frontier",
        mode="lines",
        line={"width": 7, "color": "rgba(102,161,130,0.35)", "shape": "vh"},
        hoverinfo="skip",
    )
    for i, row in enumerate(rows):
        _add_reported(figure, row, _MODEL_SYMBOLS[i % len(_MODEL_SYMBOLS)])
    figure.add_vline(x=wanted, line={"dash": "dot", "width": 1, "color": GREY})
    figure.update_layout(
        xaxis={"title": "refusal of harmful requests", "range": [-0.03, 1.04]},
        yaxis={"title": "reasoning (accuracy)"},
        legend={"orientation": "h", "y": -0.2},
        margin={"l": 60, "r": 10, "t": 20, "b": 60},
        height=560,
    )
    return figure


def _add_reported(figure: Any, row: Row, symbol: str) -> None:
    """What was reported on the test split, with its interval; symbol: for a model as it is."""
    low, high = row.reasoning.ci95
    figure.add_scatter(
        x=[row.refusal.value],
        y=[row.reasoning.value],
        error_y={
            "array": [high - row.reasoning.value],
            "arrayminus": [row.reasoning.value - low],
            "thickness": 1,
        },
        name=row.name,
        mode="markers",
        marker={
            "size": 11,
            "symbol": _SYMBOLS.get(row.kind, symbol),
            "color": colour_of(row.name),
            "line": {"width": 1},
        },
        hovertemplate=(
            f"{row.name} (test): refusal %{{x:.3f}}, reasoning %{{y:.3f}}<extra></extra>"
        ),
    )
