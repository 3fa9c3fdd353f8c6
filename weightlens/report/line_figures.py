"""Interactive figures (plotly) of overlap against something: the layer, k, the step."""

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import cycle
from typing import Any

import plotly.graph_objects as go

from weightlens.report.colours import GREY
from weightlens.report.curves import MeanCurve, chance_alone
from weightlens.report.grid import Side, mean_over_chance, short_modules
from weightlens.report.legend import DASHES, Entry, Look, ShownModel
from weightlens.report.overlap_figures import add_chance
from weightlens.report.training import TrainingRun
from weightlens.survey.result import Mean

_ALL = "all matrices"


def over_layers(look: Look, side: Side) -> Any:
    """A line for each module and model."""
    figure = go.Figure()
    for model in look.models:
        prefix = f"{model.name}, " if look.several else ""
        values = model.grid.ratios(side)
        for j, module in enumerate(model.grid.columns):
            figure.add_scatter(
                x=model.grid.layer_names,
                y=[line[j] for line in values],
                meta=[module, model.key],
                visible=look.visible(module, model),
                mode="lines+markers",
                marker={"size": 5},
                line={"dash": model.dash, "width": 1.7, "color": look.colours[module]},
                hovertemplate=f"{prefix}{module}, layer %{{x}}: %{{y:.3f}} × chance<extra></extra>",
            )
    add_chance(figure)
    _lay_out(figure, {"title": "layer", "type": "category"}, {"title": "× chance"})
    figure.update_yaxes(rangemode="tozero")
    return figure


def against_k(
    look: Look, curves: Sequence[tuple[ShownModel, Sequence[MeanCurve]]], side: Side
) -> Any:
    """A curve for each module and model, and for each module what chance reads (dotted).

    Chance is grey where it is the same for several modules.
    """
    every = [curve for _, found in curves for curve in found]
    figure = go.Figure()
    _add_chance_lines(figure, look, every, side)
    for model, found in curves:
        prefix = f"{model.name}, " if look.several else ""
        for curve in found:
            figure.add_scatter(
                x=curve.share,
                y=curve.overlap[side],
                customdata=list(_told(curve, side)),
                meta=[curve.module, model.key],
                visible=look.visible(curve.module, model),
                mode="lines",
                line={"dash": model.dash, "width": 1.8, "color": look.colours[curve.module]},
                hovertemplate=f"{prefix}{curve.module}, %{{customdata}}<extra></extra>",
            )
    shares = [x for curve in every for x in curve.share]
    overlaps = [y for curve in every for y in curve.overlap[side]]
    _lay_out(
        figure,
        {"title": "k / min(m, n)", **_logarithmic(shares)},
        {"title": "overlap", **_logarithmic(overlaps)},
    )
    return figure


def _add_chance_lines(figure: Any, look: Look, curves: Sequence[MeanCurve], side: Side) -> None:
    alone = chance_alone(curves, side)
    # one model's: chance is the same for all
    for module, curve in {curve.module: curve for curve in reversed(curves)}.items():
        figure.add_scatter(
            x=curve.share,
            y=curve.chance[side],
            meta=[module],
            visible=look.visible(module),
            mode="lines",
            line={
                "dash": "dot",
                "width": 1.3,
                "color": look.colours[module] if module in alone else GREY,
            },
            hovertemplate=f"{module}, chance: %{{y:.3g}}<extra></extra>",
        )


def _logarithmic(values: Sequence[float]) -> dict[str, Any]:
    """An axis with a tick at every power of ten; at 2 and 5 times it too where those are few."""
    positive = [v for v in values if v > 0] or [1.0]
    low, high = math.log10(min(positive)), math.log10(max(positive))
    digits = (1, 2, 5) if high - low < 2.2 else (1,)
    ticks = [d * 10.0**e for e in range(math.floor(low), math.ceil(high) + 1) for d in digits]
    return {"type": "log", "tickvals": ticks, "ticktext": [f"{tick:g}" for tick in ticks]}


def _told(curve: MeanCurve, side: Side) -> Iterator[str]:
    for i, (share, overlap, chance) in enumerate(
        zip(curve.share, curve.overlap[side], curve.chance[side], strict=True)
    ):
        k = "" if curve.ranks is None else f"k = {curve.ranks[i]}, "
        yield (
            f"{k}{100 * share:.3g} % of min(m, n)<br>"
            f"{overlap:.4g} = {overlap / chance:.3g} × chance"
        )


def over_training(look: Look, runs: Sequence[TrainingRun], side: Side | None) -> Any:
    """Overlap over chance of one side against the step (None: the norm of the delta instead).

    A line for each module, and a wide grey one for all matrices.
    """
    figure = go.Figure()
    for dash, run in zip(cycle(DASHES), runs, strict=False):
        prefix = "" if run.name is None else f"{run.name}, "
        for label, means in _means(run).items():
            whole = label == _ALL
            figure.add_scatter(
                x=run.steps,
                y=[_read(mean, side) for mean in means],
                meta=[label, f"run {run.name}"],
                mode="lines+markers",
                marker={"size": 5},
                line={
                    "dash": dash,
                    "width": 4 if whole else 1.7,
                    "color": GREY if whole else look.colours[label],
                },
                hovertemplate=f"{prefix}{label}, step %{{x}}: %{{y:.4g}}<extra></extra>",
            )
    if side is not None:
        add_chance(figure)
    _lay_out(figure, {"title": "step"}, {"title": "‖Δ‖" if side is None else "× chance"})
    figure.update_yaxes(rangemode="tozero")
    return figure


def training_entries(look: Look, runs: Sequence[TrainingRun]) -> list[Entry]:
    """For the legend of `over_training`: all, the modules, and the runs where there are several."""
    modules = [
        Entry("module", module, module, colour)
        for module, colour in look.colours.items()
        if module not in look.parts
    ]
    named = [
        Entry("run", f"run {run.name}", run.name, dash=dash)
        for dash, run in zip(cycle(DASHES), runs, strict=False)
        if run.name is not None
    ]
    return [Entry("module", _ALL, _ALL), *modules, *named]


def _means(run: TrainingRun) -> Mapping[str, list[Mean | None]]:
    modules = short_modules([name for model in run.models for name in model.summary.modules])
    means: dict[str, list[Mean | None]] = {_ALL: [model.summary.all for model in run.models]}
    for name, label in modules.items():
        means[label] = [model.summary.modules.get(name) for model in run.models]
    return means


def _read(mean: Mean | None, side: Side | None) -> float | None:
    if mean is None or side is not None:
        return mean_over_chance(mean, side) if side is not None else None
    return mean.delta_norm


def _lay_out(figure: Any, x: Mapping[str, Any], y: Mapping[str, Any]) -> None:
    figure.update_layout(
        showlegend=False,
        xaxis={"automargin": True, **x},
        yaxis={"automargin": True, **y},
        margin={"l": 40, "r": 10, "t": 10, "b": 40},
        height=330,
    )
