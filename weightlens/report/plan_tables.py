"""What a merge would do, for the terminal."""

from collections.abc import Sequence

from rich import box
from rich.console import RenderableType
from rich.table import Table

from weightlens.merge.record import PlanReport


def plan_tables(plans: Sequence[PlanReport]) -> list[RenderableType]:
    """One table for each recipe of the file, its warnings below."""
    parts: list[RenderableType] = []
    for i, plan in enumerate(plans, start=1):
        title = f"plan {i} of {len(plans)}" if len(plans) > 1 else "plan"
        table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, show_header=False)
        table.add_column()
        table.add_column()
        for name, value in _rows(plan):
            table.add_row(name, value)
        parts.append(table)
        parts += [f"warning: {warning}" for warning in plan.warnings]
    parts.append("Nothing was written.")
    return parts


def _rows(plan: PlanReport) -> list[tuple[str, str]]:
    rows = [("method", plan.method), ("base", plan.base or "none")]
    rows += [("source", source) for source in plan.sources]
    rows.append(("engine", _engine(plan)))
    if plan.tensors is not None:
        kinds = ", ".join(f"{count} {kind}" for kind, count in plan.kinds.items())
        rows.append(("tensors", f"{plan.tensors:,}{': ' * bool(kinds)}{kinds}"))
    if plan.finished:
        rows.append(("finished", f"{plan.finished:,} tensors, by a run that was interrupted"))
    if plan.bytes_to_download:
        rows.append(("download first", _size(plan.bytes_to_download)))
    rows += [("read", _size(plan.bytes_read)), ("written", _written(plan))]
    if plan.peak_memory is not None:
        rows.append(("memory at most", f"about {_size(plan.peak_memory)}, {plan.workers} workers"))
    return rows


def _engine(plan: PlanReport) -> str:
    if plan.engine == "weightlens":
        return "weightlens"
    return f"mergekit: {'; '.join(plan.reasons)}"


def _written(plan: PlanReport) -> str:
    if plan.shards is None:
        return _size(plan.bytes_written)
    return f"{_size(plan.bytes_written)} in {plan.shards} file{'s' * (plan.shards != 1)}"


def _size(count: int | None) -> str:
    if count is None:
        return "not known beforehand"
    return f"{count / 1e9:,.2f} GB" if count >= 1e9 else f"{count / 1e6:,.1f} MB"
