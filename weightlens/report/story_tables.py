"""The demo's table, for the terminal. What colour says, numbers say too."""

from pathlib import Path

from rich.console import RenderableType

from weightlens.evaluate.result import TaskResult
from weightlens.report.banded import Banded, Line
from weightlens.report.sentences import findings
from weightlens.report.story import Story

_HEADS = (
    ("",), ("weight",), ("reasoning",), ("refusal",), ("over-refusal",),
    ("reasoning\nvs scaling",),
)  # fmt: skip


def story_tables(story: Story, out: Path) -> list[RenderableType]:
    """The demo's one table, and what it says in sentences."""
    title = "test split, % [95 % interval]; merges of the full delta at matched refusal"
    table = []
    for row in story.rows:
        versus = "" if row.versus is None else (
            f"{100 * row.versus.difference:+.1f} "
            f"[{100 * row.versus.ci95[0]:+.1f}, {100 * row.versus.ci95[1]:+.1f}]"
        )  # fmt: skip
        weight = "" if row.weight is None else f"{row.weight:.3f}"
        scores = [_score(r) for r in (row.reasoning, row.refusal, row.over_refusal)]
        reached = weight if row.reached else f"{weight}\n(not reached)"
        style = {"written": "bold", "control": "dim"}.get(row.kind, "")
        table.append(Line((row.name, reached, *scores, versus), style=style))
    lines = [f"· {sentence}" for sentence in findings(story)]
    lines.append(f"{story.seconds:.0f} s. The story: {out / 'demo.html'}")
    card = out / "merged" / "README.md"
    lines.append(f"The merge: {out / 'report.html'}; its model card: {card}")
    return [Banded(title, _HEADS, table), "", *lines]


def _score(result: TaskResult) -> str:
    low, high = result.ci95
    return f"{100 * result.value:.1f} [{100 * low:.1f}, {100 * high:.1f}]"
