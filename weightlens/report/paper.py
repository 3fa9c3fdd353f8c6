"""Static figures (matplotlib) of an overlap report, as wide as both columns of a paper."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weightlens.errors import InputError
from weightlens.report.colours import CELL_INK, GREY, about_chance
from weightlens.report.curves import MeanCurve, chance_alone, mean_curves
from weightlens.report.grid import SIDES, Grid, Side
from weightlens.report.legend import Look, ShownModel, look_of
from weightlens.report.numbers import four_wide
from weightlens.survey.result import OverlapReport

SETTINGS: Any = {
    "font.size": 7,
    "axes.titlesize": 7,
    "axes.linewidth": 0.6,
    "svg.hashsalt": "weightlens",
    # text stays text: searchable, and the journal's own font can take its place
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
}
METADATA: dict[str, dict[str, Any]] = {
    ".svg": {"Date": None},
    ".pdf": {"CreationDate": None},
    ".png": {},
}
_WIDTH = 7.0
_CURVES_HEIGHT = 2.6
_DASHES: dict[str, Any] = {"solid": "-", "dash": "--", "dashdot": "-.", "longdash": (0, (8, 2))}
_SHOWN: tuple[Side, ...] = ("column", "row")


@dataclass(frozen=True)
class Map:
    """Ratios to chance, layer by column; None where there is nothing to measure."""

    title: str
    layers: Sequence[str]
    columns: Sequence[str]
    ratios: Sequence[Sequence[float | None]]


def write_overlap_figure(report: OverlapReport, file: Path) -> None:
    """Heatmaps layer by module and, where they were measured, curves over k with chance.

    Of more than four models, the first and the last. The suffix says what is written: .svg, .pdf
    or .png; the same report gives the same bytes. Raises InputError for another suffix, and for a
    report in which nothing was measured.
    """
    suffix = check_figure(file)
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    look = look_of(report.models)
    models = [model for model in look.models if model.shown and model.record.matrices]
    if not models:
        raise InputError(f"{file}: no matrix was measured, so there is nothing to draw")
    curves = [(model, mean_curves(model.record)) for model in models]
    heights = [_height(model.grid) for model in models]
    if any(found for _, found in curves):
        heights.append(_CURVES_HEIGHT)
    with pyplot.rc_context(SETTINGS):
        figure = pyplot.figure(figsize=(_WIDTH, sum(heights)), layout="constrained")
        parts = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
        for part, model in zip(parts, models, strict=False):
            _draw_heatmaps(part, model)
        if len(heights) > len(models):
            _draw_curves(parts[-1], look, curves)
        figure.savefig(file, dpi=300, metadata=METADATA[suffix], facecolor="white")
        pyplot.close(figure)


def check_figure(file: Path) -> str:
    """The suffix of a file that a figure can be written to. Raises InputError for another."""
    suffix = file.suffix.lower()
    if suffix not in METADATA:
        raise InputError(f"{file}: a figure is written as {', '.join(METADATA)}; name it so")
    return suffix


def plain(name: str) -> str:
    """A name in which matplotlib sees no formula."""
    return name.replace("$", r"\$")


def _stacked(grid: Grid) -> bool:
    """Whether there are too many modules for two heatmaps side by side."""
    return len(grid.columns) > 12


def _map_height(grid: Grid) -> float:
    return min(max(0.17 * len(grid.layers), 0.5), 2.7 if _stacked(grid) else 4.0)


def _height(grid: Grid) -> float:
    longest = max(map(len, grid.columns), default=0)
    return (_map_height(grid) + 0.35 + 0.04 * longest) * (2 if _stacked(grid) else 1) + 0.2


def _draw_heatmaps(part: Any, model: ShownModel) -> None:
    part.suptitle(f"{plain(model.name)} ({model.record.kind})", fontsize=8, fontweight="bold")
    shape = (2, 1) if _stacked(model.grid) else (1, 2)
    axes = part.subplots(*shape).ravel()
    for side, one in zip(_SHOWN, axes, strict=True):
        grid = model.grid
        cells = Map(f"{side} overlap ÷ chance", grid.layer_names, grid.columns, grid.ratios(side))
        high = _map_height(grid) / len(grid.layers) > 0.1
        image = draw_map(one, cells, numbers=high)
    bar = part.colorbar(image, ax=axes, aspect=12 * _height(model.grid), pad=0.01, extend="max",
                        extendfrac="auto", ticks=[0, 1, 2])  # fmt: skip
    bar.outline.set_visible(False)


def draw_map(axes: Any, cells: Map, *, numbers: bool) -> Any:
    """Draws a heatmap of ratios to chance into matplotlib's axes; returns its image, which has 0 to
    2 as its range. numbers: write them into the cells."""
    from matplotlib.colors import LinearSegmentedColormap

    scale = [about_chance(x) for x in (0.0, 1.0, 2.0)]
    colours = LinearSegmentedColormap.from_list("chance", scale)
    ratios = [[float("nan") if v is None else v for v in line] for line in cells.ratios]
    image = axes.imshow(ratios, cmap=colours, vmin=0, vmax=2, aspect="auto")
    if numbers:
        for i, line in enumerate(cells.ratios):
            for j, value in enumerate(line):
                text = "–" if value is None else four_wide(value)
                axes.text(j, i, text, ha="center", va="center", fontsize=5.5, color=CELL_INK)
    axes.set_xticks(range(len(cells.columns)), cells.columns, rotation=45, ha="right",
                    rotation_mode="anchor")  # fmt: skip
    every = 1 + (len(cells.layers) - 1) // 24
    axes.set_yticks(range(0, len(cells.layers), every), cells.layers[::every])
    axes.tick_params(length=2, width=0.6, pad=1)
    axes.spines[:].set_visible(False)
    axes.set_ylabel("layer")
    axes.set_title(cells.title)
    return image


def _draw_curves(
    part: Any, look: Look, curves: Sequence[tuple[ShownModel, Sequence[MeanCurve]]]
) -> None:
    from matplotlib.lines import Line2D

    every = [curve for _, found in curves for curve in found if not curve.part]
    for side, axes in zip(SIDES, part.subplots(1, len(SIDES)), strict=True):
        alone = chance_alone(every, side)
        for module, curve in {curve.module: curve for curve in every}.items():
            colour = look.colours[module] if module in alone else GREY
            axes.plot(curve.share, curve.chance[side], color=colour, linewidth=0.8, linestyle=":")
        for model, found in curves:
            for curve in found:
                if not curve.part:
                    axes.plot(curve.share, curve.overlap[side], color=look.colours[curve.module],
                              linewidth=1, linestyle=_DASHES[model.dash])  # fmt: skip
        axes.set(xscale="log", yscale="log", xlabel="k / min(m, n)", title=f"{side} overlap")
        axes.tick_params(which="both", width=0.6, length=2)
    entries = [
        Line2D([], [], color=look.colours[module], label=plain(module))
        for module in look.colours
        if module not in look.parts
    ]
    if look.several:
        entries += [
            Line2D([], [], color=GREY, linestyle=_DASHES[model.dash], label=plain(model.name))
            for model, _ in curves
        ]
    entries.append(Line2D([], [], color=GREY, linestyle=":", linewidth=0.7, label="chance"))
    part.legend(handles=entries, loc="outside lower center", ncols=6, frameon=False)
