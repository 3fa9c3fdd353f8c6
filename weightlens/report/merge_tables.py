"""What a merge did, for the terminal."""

from pathlib import Path

from rich import box
from rich.console import RenderableType
from rich.table import Table

from weightlens.merge.record import MergeReport, summarise_strips
from weightlens.report.numbers import number


def merge_tables(report: MergeReport, out: Path) -> list[RenderableType]:
    """What was written, and what the strips did and what of it survived rounding."""
    parts: list[RenderableType] = [f"warning: {warning}" for warning in report.warnings]
    summaries = summarise_strips(report)
    if summaries:
        title = "overlap with the stripped subspace, mean by delta energy"
        table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, title_style="bold")
        table.add_column("side")
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
