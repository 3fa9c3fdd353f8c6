"""How every picture looks: palette, size, type, white ground, and bytes that stay the same.

A picture is 480 pixels wide (5 inches). Text stays text, in a face that the reader has. Numbers in
the file are rounded to a hundredth of a point: nobody sees it, and differences in the last digit of
a computation do not reach the file.
"""

import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path as Outline
from torch import Tensor

BASE, FIRST, SECOND, THIRD = "#34495e", "#c8414f", "#2477a8", "#c97a00"
"""The base model, and up to three subjects set against it or each other."""
CHANCE = "#7a868c"
BAND = "#d9dee0"
LEVELS = 10
"""Shades of a heat map."""

_FACE = "text{font-family: 'DejaVu Sans', Verdana, sans-serif} "
"""Verdana is as wide as the face that the layout was measured with, which not everybody has."""

_SETTINGS: Any = {
    "svg.hashsalt": "weightlens",
    "svg.fonttype": "none",
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#555555",
    "figure.titlesize": 10,
    "figure.titleweight": "bold",
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "legend.handlelength": 1.4,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "lines.linewidth": 1.8,
    "lines.markersize": 5,
}


def settings() -> Any:
    """The context in which pictures are drawn and written."""
    return rc_context(_SETTINGS)


def sheet(title: str, *, height: float = 3.0, **grid: Any) -> tuple[Figure, Any]:
    """A figure with its title, and its axes as `Figure.subplots` gives them."""
    figure = Figure(figsize=(5, height), layout="constrained", facecolor="white")
    figure.suptitle(title, x=0.01, ha="left")
    return figure, figure.subplots(**grid)


def write(figure: Figure, file: Path) -> None:
    """The figure as SVG, without a date."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    tags = re.sub(r"<[^>]+>", lambda tag: _tidied(tag.group()), buffer.getvalue())
    for place, name in enumerate(dict.fromkeys(re.findall(r"\b[mp][0-9a-f]{10}\b", tags))):
        tags = tags.replace(name, f"i{place}")  # a hash of unrounded numbers
    styled = tags.replace('<style type="text/css">', f'<style type="text/css">{_FACE}', 1)
    file.write_text(re.sub(r"^ +| +$", "", styled, flags=re.MULTILINE), encoding="utf-8")


def shades(colour: str) -> LinearSegmentedColormap:
    """From almost white to a colour."""
    ends: Any = ["#f4f5f6", to_rgb(colour), tuple(0.75 * part for part in to_rgb(colour))]
    return LinearSegmentedColormap.from_list("shades", ends, N=LEVELS)


def heat(
    axes: Axes, values: Tensor, colour: str, *, highest: float = 1.0, where: Tensor | None = None
) -> None:
    """A heat map of values from 0 to `highest`: rows downwards, one outline for each shade.

    where: the cells to paint; all of them by default.
    """
    rows, columns = values.shape
    shade = (values / highest * LEVELS).floor().clamp(0, LEVELS - 1).int()
    if where is not None:
        shade = shade.masked_fill(~where, -1)
    for level in range(LEVELS):
        bars = [bar for i in range(rows) for bar in _runs(shade[i].tolist(), level, i)]
        if bars:
            outline = Outline.make_compound_path(*bars)
            fill = shades(colour)(level)
            axes.add_patch(PathPatch(outline, facecolor=fill, linewidth=0, antialiased=False))
    axes.set(xlim=(0, columns), ylim=(rows, 0), aspect="equal")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)


def colour_scale(figure: Figure, axes: Any, colour: str, *, highest: float, label: str) -> None:
    """A bar beside the axes that says what the shades of `heat` mean."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    scale = ScalarMappable(Normalize(0, highest), shades(colour))
    bar = figure.colorbar(scale, ax=axes, shrink=0.9, aspect=18, pad=0.02)
    bar.outline.set_visible(False)
    bar.set_label(label)


def name_ends(axes: Axes, ends: Sequence[tuple[float, float, str, str]]) -> None:
    """Words at points of the axes, in the colour of what they name: (x, y, words, colour)."""
    for x, y, words, colour in ends:
        axes.annotate(words, (x, y), xytext=(4, 0), textcoords="offset points",
                      va="center", color=colour, fontsize=8.5)  # fmt: skip


def _runs(shade: list[int], level: int, row: int) -> list[Outline]:
    """Rectangles over the cells of one row that have a shade, neighbours joined."""
    found, start = [], None
    for column, value in enumerate([*shade, None]):
        if value == level:
            start = column if start is None else start
        elif start is not None:
            corners = [(start, row), (column, row), (column, row + 1), (start, row + 1)]
            found.append(Outline([*corners, corners[0]], closed=True))
            start = None
    return found


def _tidied(tag: str) -> str:
    """A tag without the face and the turn by nothing of every text, its numbers rounded."""
    plain = re.sub(r"font-family: [^;]*; ?| transform=\"rotate\(-0 [^\"]*\"", "", tag)
    return re.sub(r"-?\d+\.\d{3,}(e-?\d+)?", lambda n: f"{float(n.group()):.2f}", plain)
