"""Results as rich tables. What colour says, numbers say too."""

from pathlib import Path

from rich import box
from rich.console import RenderableType
from rich.table import Table

from weightlens.evaluate.result import TaskResult
from weightlens.merge.record import MergeReport, summarise_strips
from weightlens.report.numbers import number
from weightlens.report.sentences import findings
from weightlens.report.story import Story


def merge_tables(report: MergeReport, out: Path) -> list[RenderableType]:
    """What was written, and what the strips did and what of it survived rounding."""
    parts: list[RenderableType] = [f"warning: {warning}" for warning in report.warnings]
    summaries = summarise_strips(report)
    if summaries:
        table = _table("overlap with the stripped subspace, mean by delta energy", "side")
        for name in ("matrices", "untouched", "chance", "before", "after", "merged", "as written"):
            table.add_column(name, justify="right")
        for s in summaries:
            numbers = [number(v) for v in (s.chance, s.before, s.after, s.merged, s.written)]
            table.add_row(s.side, str(s.matrices), str(s.untouched), *numbers)
        parts.append(table)
        if all(s.untouched == s.matrices for s in summaries):
            parts.append("No matrix was above its target: the strip changed nothing.")
    size = f"{report.tensors} tensors, {report.bytes / 1e6:,.1f} MB"
    parts.append(f"{out}: {size}; record in {out / 'weightlens.json'}")
    return parts


def story_tables(story: Story, out: Path) -> list[RenderableType]:
    """The demo's one table, and what it says in sentences."""
    table = _table("test split, % [95 % interval]; merges of the full delta at matched refusal", "")
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


def _table(title: str, first: str) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, title_style="bold")
    table.add_column(first)
    return table
