"""The demo's table, for the terminal. What colour says, numbers say too."""

from pathlib import Path

from rich import box
from rich.console import RenderableType
from rich.table import Table

from weightlens.evaluate.result import TaskResult
from weightlens.report.sentences import findings
from weightlens.report.story import Story


def story_tables(story: Story, out: Path) -> list[RenderableType]:
    """The demo's one table, and what it says in sentences."""
    title = "test split, % [95 % interval]; merges of the full delta at matched refusal"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, title_style="bold")
    table.add_column("")
    for name in ("weight", "reasoning", "refusal", "over-refusal", "reasoning vs scaling"):
        table.add_column(name, justify="right")
    for row in story.rows:
        versus = "" if row.versus is None else (
            f"{100 * row.versus.difference:+.1f} "
            f"[{100 * row.versus.ci95[0]:+.1f}, {100 * row.versus.ci95[1]:+.1f}]"
        )  # fmt: skip
        weight = "" if row.weight is None else f"{row.weight:.3f}"
        table.add_row(
            row.name,
            weight if row.reached else f"{weight} (not reached)",
            *[_score(r) for r in (row.reasoning, row.refusal, row.over_refusal)],
            versus,
            style={"written": "bold", "control": "dim"}.get(row.kind, ""),
        )
    lines = [f"· {sentence}" for sentence in findings(story)]
    lines.append(f"{story.seconds:.0f} s. The story: {out / 'demo.html'}")
    card = out / "merged" / "README.md"
    lines.append(f"The merge: {out / 'report.html'}; its model card: {card}")
    return [table, *lines]


def _score(result: TaskResult) -> str:
    low, high = result.ci95
    return f"{100 * result.value:.1f} [{100 * low:.1f}, {100 * high:.1f}]"
