"""Sections of an overlap report: figures, and the legend that they share."""

from html import escape
from typing import Any

from weightlens.report.curves import mean_curves
from weightlens.report.grid import SIDES, Grid, Side, stack_grid
from weightlens.report.legend import Look, entries_of, legend
from weightlens.report.line_figures import against_k, over_layers, over_training, training_entries
from weightlens.report.overlap_figures import (
    distribution,
    overlap_heatmap,
    side_by_side,
    stack_heatmap,
)
from weightlens.report.page import Section, figure_slot, panels
from weightlens.report.training import training_runs

_SHOWN: tuple[Side, ...] = ("column", "row")
_MANY_COLUMNS = 12


def heatmap_section(look: Look) -> Section:
    """Layer by module for each model; of many models, most are folded up."""
    html, figures = [scale_note()], dict[str, Any]()
    for i, model in enumerate(look.models):
        drawn = heatmaps(f"{look.prefix}grid-{i}", model.grid)
        name = f"{model.record.model} ({model.record.kind})"
        unfolded = " open" if model.shown else ""
        html.append(f"<details{unfolded}><summary>{escape(name)}</summary>{drawn.html}</details>")
        figures |= drawn.figures
    return Section("\n".join(html), figures, "By layer and module")


def heatmaps(prefix: str, grid: Grid) -> Section:
    """Column and row beside each other, or one below the other where there are many modules."""
    figures = {f"{prefix}-{side}": overlap_heatmap(grid, side) for side in _SHOWN}
    kind = "wide" if len(grid.columns) > _MANY_COLUMNS else ""
    captions = {f"{prefix}-{side}": f"{side} overlap ÷ chance" for side in _SHOWN}
    return Section(panels(captions, kind), figures)


def scale_note() -> str:
    """What the colours of a heatmap mean."""
    return (
        "<p class='scale note'>0 × <span></span> 2 × chance and more; white is chance. Point at a "
        "cell to read it in full.</p>"
    )


def models_section(look: Look) -> Section | None:
    """Models side by side, where there are several."""
    if not look.several:
        return None
    name = f"{look.prefix}models"
    return Section(figure_slot(name), {name: side_by_side(look)}, "Models side by side")


def against_k_section(look: Look) -> Section | None:
    """Curves over k, where they were measured."""
    curves = [(model, mean_curves(model.record)) for model in look.models]
    if not any(found for _, found in curves):
        return None
    captions = {f"{look.prefix}curves-{side}": side for side in SIDES}
    figures = {name: against_k(look, curves, side) for name, side in captions.items()}
    note = (
        "<p class='note'>Means over the layers of a module, weighted by the energy of their "
        "deltas. Dotted: chance, k/m for column, k/n for row, their product for both; grey where "
        "several modules have the same. Both axes are logarithmic.</p>"
    )
    buttons = legend(entries_of(look), figures)
    html = f"{note}{buttons}{panels(dict(captions), 'three')}"
    return Section(html, figures, "Overlap against k")


def layers_section(look: Look) -> Section:
    """Boxes over the layers, and lines from layer to layer."""
    figures, captions = dict[str, Any](), dict[str, str]()
    for kind, draw in (("spread", distribution), ("layers", over_layers)):
        for side in _SHOWN:
            name = f"{look.prefix}{kind}-{side}"
            figures[name], captions[name] = draw(look, side), f"{side} overlap ÷ chance"
    order = " The boxes of a module stand in the order of the models." if look.several else ""
    note = (
        f"<p class='note'>A point is a layer.{order} A click on a name hides or shows it, a double "
        "click shows it alone.</p>"
    )
    buttons = legend(entries_of(look), figures)
    return Section(f"{note}{buttons}{panels(captions)}", figures, "Over the layers")


def training_section(look: Look) -> Section | None:
    """Overlap and delta against the step, where at least two models know theirs."""
    runs = training_runs([model.record for model in look.models])
    if not runs:
        return None
    at = f"{look.prefix}training"
    figures = {f"{at}-{side}": over_training(look, runs, side) for side in _SHOWN}
    figures[f"{at}-norm"] = over_training(look, runs, None)
    captions = {f"{at}-{side}": f"{side} overlap ÷ chance" for side in _SHOWN}
    captions[f"{at}-norm"] = "norm of the delta"
    buttons = legend(training_entries(look, runs), figures)
    return Section(buttons + panels(captions, "three"), figures, "Over training")


def experts_section(look: Look) -> Section | None:
    """Stacks of experts, each as one block-diagonal matrix."""
    note = "<p class='note'>All experts of a layer as one block-diagonal matrix.</p>"
    html, figures = [note], dict[str, Any]()
    for i, model in enumerate(look.models):
        if model.record.stacks:
            grid = stack_grid(model.record.stacks)
            html.append(f"<h3>{escape(model.name)}</h3>" if look.several else "")
            at = f"{look.prefix}experts-{i}"
            html.append(panels({f"{at}-{s}": f"{s} overlap ÷ chance" for s in _SHOWN}))
            figures |= {f"{at}-{s}": stack_heatmap(grid, s) for s in _SHOWN}
    if not figures:
        return None
    return Section("\n".join(html), figures, "Experts in aggregate")
