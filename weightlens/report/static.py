"""Static figures (matplotlib, SVG) for a README or a paper."""

from pathlib import Path
from typing import Any

from weightlens.report.figures import colour_of
from weightlens.report.grid import Grid, overlap_grid
from weightlens.report.story import Story, frontier

_MARKERS = {"merge": "o", "control": "x", "written": "*", "model": "s"}


def write_story_figure(story: Story, file: Path) -> None:
    """Reasoning against refusal beside the overlap heatmap of the full fine-tune."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    with pyplot.rc_context({"svg.hashsalt": "weightlens", "font.size": 9}):
        figure, (left, right) = pyplot.subplots(
            1, 2, figsize=(12, 4.2), width_ratios=(1.15, 1), layout="constrained"
        )
        _frontier(left, story)
        full = next(m for m in story.overlap.models if m.kind == "full")
        _heatmap(figure, right, overlap_grid(full))
        figure.savefig(file, metadata={"Date": None}, facecolor="white")
        pyplot.close(figure)


def _frontier(axes: Any, story: Story) -> None:
    for curve in story.curves:
        axes.plot([p.refusal for p in curve.points], [p.reasoning for p in curve.points],
                  color=colour_of(curve.name), linewidth=1, alpha=0.6)  # fmt: skip
    best = frontier(story.curves)
    axes.plot([p.refusal for p in best], [p.reasoning for p in best], color="#66a182", linewidth=6,
              alpha=0.3, drawstyle="steps-pre", label="frontier (validation)")  # fmt: skip
    for row in story.rows:
        low, high = row.reasoning.ci95
        value = row.reasoning.value
        axes.errorbar(row.refusal.value, value, yerr=[[value - low], [high - value]],
                      color=colour_of(row.name), marker=_MARKERS[row.kind], markersize=7,
                      linewidth=0, elinewidth=1,
                      label=None if row.kind == "model" else row.name)  # fmt: skip
        if row.kind == "model":
            axes.annotate(row.name, (row.refusal.value, value), xytext=(-8, -10),
                          textcoords="offset points", ha="right")  # fmt: skip
    axes.axvline(story.wanted_refusal, color="gray", linestyle=":", linewidth=1)
    axes.set_xlabel("refusal of held-out harmful requests")
    axes.set_ylabel("reasoning (accuracy, 95 % interval)")
    axes.set_xlim(-0.05, 1.05)
    axes.legend(fontsize=7, loc="lower left")
    axes.set_title("Merges of the full safety fine-tune, at matched refusal")


def _heatmap(figure: Any, axes: Any, grid: Grid) -> None:
    both_sides = zip(grid.ratios("column"), grid.ratios("row"), strict=True)
    values = [[*c, *r] for c, r in both_sides]
    names = [f"{side} {m}" for side in ("column", "row") for m in grid.columns]
    numbers = [[float("nan") if v is None else v for v in line] for line in values]
    image = axes.imshow(numbers, cmap="RdBu_r", vmin=0, vmax=2, aspect="auto")
    for i, line in enumerate(numbers):
        for j, value in enumerate(line):
            axes.text(j, i, f"{value:.1f}", ha="center", va="center", fontsize=7,
                      color="white" if abs(value - 1) > 0.7 else "black")  # fmt: skip
    axes.set_xticks(range(len(names)), names, rotation=60, ha="right", fontsize=7)
    axes.set_yticks(range(len(grid.layers)), [str(layer) for layer in grid.layers])
    axes.set_ylabel("layer")
    axes.set_title("Its overlap with the base, over chance (1 = chance)")
    figure.colorbar(image, ax=axes, shrink=0.8)
