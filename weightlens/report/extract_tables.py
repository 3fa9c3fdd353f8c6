"""`weightlens extract` in the terminal: how near the adapter is, by module, and what it lacks."""

import math
from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.console import RenderableType
from rich.table import Table

from weightlens.merge.extract_record import ExtractedMatrix, ExtractReport, LeftOut
from weightlens.report.grid import short_modules
from weightlens.report.numbers import number, percent

_NAMED = 4
"""How many of the tensors left out for one reason are named."""


def extract_tables(report: ExtractReport, out: Path) -> list[RenderableType]:
    """A line a module, what was left out and why, and what the adapter holds of the delta."""
    parts: list[RenderableType] = [f"warning: {warning}" for warning in report.warnings]
    parts += [_title(report), _module_table(report)]
    if report.unchanged:
        parts.append(f"{_matrices(report.unchanged)} unchanged.")
    if report.whole:
        share = percent(report.totals.whole)
        parts.append(f"{len(report.whole)} tensors saved whole, {share} of ‖Δ‖².")
    parts += _left_out(report)
    size = sum(m.rank * sum(m.shape) for m in report.matrices) / report.matrix_parameters
    if size > 1:
        parts.append(
            f"The factors hold {size:.2f} times as many numbers as their matrices: --max-rank or a "
            "smaller --energy makes the adapter smaller."
        )
    parts.append(
        f"{out}: adapter of {report.bytes / 1e6:,.1f} MB that holds {percent(report.totals.kept)} "
        f"of ‖Δ‖²; record in {out / 'weightlens.json'}"
    )
    return parts


def _title(report: ExtractReport) -> str:
    """A line of its own: paths are wider than the table."""
    size = report.settings.size
    value = "" if size.value is None else f" {size.value:g}"
    rule = f"rank{value}" if size.by == "rank" else f"rank by {size.by}{value}"
    most = "" if size.most is None else f", at most {size.most}"
    return f"{report.tuned.model} − {report.base.model}, {rule}{most}"


def _module_table(report: ExtractReport) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("module")
    for name in ("n", "rank", "energy kept", "‖Δ−BA‖/‖Δ‖", "share of ‖Δ‖²"):
        table.add_column(name, justify="right", no_wrap=True)
    for module, label in short_modules([m.module for m in report.matrices]).items():
        group = [m for m in report.matrices if m.module == module]
        table.add_row(label, *_cells(group, report.totals.delta_norm))
    table.add_section()
    table.add_row("all", *_cells(report.matrices, report.totals.delta_norm), style="bold")
    return table


def _cells(matrices: Sequence[ExtractedMatrix], whole_norm: float) -> list[str]:
    """Means over the matrices as one: by the energy of each delta."""
    energy = math.fsum(m.delta_norm**2 for m in matrices)
    lost = math.fsum((m.error * m.delta_norm) ** 2 for m in matrices)
    ranks = [m.rank for m in matrices]
    low, high = min(ranks), max(ranks)
    return [
        str(len(matrices)),
        str(low) if low == high else f"{low}–{high}",
        percent(1 - lost / energy),
        number(math.sqrt(lost / energy)),
        percent(energy / whole_norm**2),
    ]


def _left_out(report: ExtractReport) -> list[str]:
    """A line a reason: how many, how much of the delta, and which."""
    if not report.left_out:
        return []
    total = report.totals.delta_norm**2
    reasons: dict[str, list[LeftOut]] = {}
    for tensor in report.left_out:
        reasons.setdefault(tensor.reason, []).append(tensor)
    lines = [
        f"Left out: {len(report.left_out)} changed tensors, {percent(report.totals.left_out)} of "
        "‖Δ‖²" + ("." if report.settings.save_rest else " (--save-rest keeps some of them whole).")
    ]
    for reason, tensors in reasons.items():
        known = [t.delta_norm**2 for t in tensors if t.delta_norm is not None]
        share = percent(math.fsum(known) / total) if known else "another shape"
        names = ", ".join(t.name for t in tensors[:_NAMED])
        more = f" and {len(tensors) - _NAMED} more" if len(tensors) > _NAMED else ""
        lines.append(f"  {share:>8}  {reason}: {names}{more}")
    return lines


def _matrices(count: int) -> str:
    return "1 matrix" if count == 1 else f"{count} matrices"
