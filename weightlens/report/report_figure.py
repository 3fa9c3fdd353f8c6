"""`weightlens report --svg`: scores with intervals beside the overlap of a merge, for a paper."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from weightlens.errors import InputError
from weightlens.report.bar_blocks import Bar, Block
from weightlens.report.colours import COLUMN, GREY, ROW
from weightlens.report.paper import METADATA, SETTINGS, check_figure, plain
from weightlens.report.score_blocks import score_blocks
from weightlens.report.strip_parts import strip_block, strips_of
from weightlens.report.subject import Merged, Trial

_WIDTH, _LINE, _AROUND = 7.0, 0.17, 0.42
_PATHS: dict[str, Any] = {"svg.fonttype": "path"}
"""Letters as outlines: the figure looks the same where its font is missing."""


def write_report_figure(merged: Merged, trial: Trial | None, file: Path) -> None:
    """A panel a task on the left, a panel a strip on the right; what is missing has no side.

    The suffix says what is written: .svg, .pdf or .png; the same results give the same bytes.
    Raises InputError for another suffix, and where there is neither scores nor strip.
    """
    suffix = check_figure(file)
    scores = [] if trial is None else [b for part in score_blocks(trial.evaluated.report, trial)
                                       for b in part]  # fmt: skip
    strips = [strip_block(strip) for strip in strips_of(merged.report)]
    sides = [side for side in (scores, strips) if side]
    if not sides:
        raise InputError(
            f"{file}: {merged.name} has neither scores nor a strip to draw; name the folder of an "
            "evaluation too"
        )
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    with pyplot.rc_context(SETTINGS | _PATHS):
        height = max(sum(_height(block) for block in side) for side in sides)
        figure = pyplot.figure(figsize=(_WIDTH, height), layout="constrained")
        halves = figure.subfigures(1, len(sides), squeeze=False)[0]
        for half, side in zip(halves, sides, strict=True):
            _draw(half, side, ROW if side is scores else COLUMN, height)
        figure.savefig(file, dpi=300, metadata=METADATA[suffix], facecolor="white")
        pyplot.close(figure)


def _height(block: Block) -> float:
    return _LINE * len(block.bars) + _AROUND


def _draw(half: Any, blocks: Sequence[Block], colour: str, height: float) -> None:
    """One below the other; what the other half is higher stays empty."""
    ratios = [_height(block) for block in blocks]
    left = height - sum(ratios)
    ratios += [left] if left > 0.01 else []
    panels = half.subplots(len(ratios), 1, height_ratios=ratios, squeeze=False)[:, 0]
    for axes, block in zip(panels, blocks, strict=False):
        _draw_block(axes, block, colour)
    for axes in panels[len(blocks) :]:
        axes.set_axis_off()


def _draw_block(axes: Any, block: Block, colour: str) -> None:
    for place, bar in enumerate(block.bars):
        _draw_bar(axes, place, bar, colour)
        value = f"{bar.value}  {bar.interval}"
        axes.text(1.03, place, value, va="center", fontsize=6,
                  fontweight="bold" if bar.strong else "normal")  # fmt: skip
    marks = {bar.mark for bar in block.bars if bar.mark is not None}
    for mark in marks:
        axes.axvline(mark, color=GREY, linestyle=":", linewidth=1)
    axes.set_yticks(range(len(block.bars)), [plain(bar.name) for bar in block.bars])
    for label, bar in zip(axes.get_yticklabels(), block.bars, strict=True):
        label.set_fontweight("bold" if bar.strong else "normal")
    axes.set(xlim=(0, 1.02), ylim=(len(block.bars) - 0.4, -0.6))
    axes.set_xticks([])
    axes.tick_params(length=0)
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.set_title(f"{plain(block.title)}", loc="left", fontweight="bold", pad=10)
    axes.text(0, 1.02, plain(block.about), transform=axes.transAxes, fontsize=5.5, color=GREY)


def _draw_bar(axes: Any, place: int, bar: Bar, colour: str) -> None:
    axes.barh(place, bar.at, height=0.55, color=colour, alpha=0.85 if bar.strong else 0.4)
    if bar.low is not None and bar.high is not None:
        axes.plot([bar.low, bar.high], [place, place], color="black", linewidth=1)
