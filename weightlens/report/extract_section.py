"""An extracted adapter on a page: how near it is to the delta that it stands for."""

from weightlens.merge.extract_record import ExtractReport
from weightlens.report.html_table import definitions
from weightlens.report.numbers import number, percent
from weightlens.report.page import Section


def extract_section(report: ExtractReport, title: str) -> Section:
    """What it holds of the delta, and what it leaves out."""
    ranks = [matrix.rank for matrix in report.matrices]
    facts = [
        ("delta", f"{report.tuned.model} − {report.base.model}"),
        ("kept", f"{percent(report.totals.kept)} of ‖Δ‖²"),
        ("‖Δ−BA‖/‖Δ‖", number(report.totals.error)),
        ("matrices", str(len(ranks))),
        ("left out", f"{len(report.left_out)} changed tensors, "
                     f"{percent(report.totals.left_out)} of ‖Δ‖²"),
        ("size", f"{report.parameters:,} numbers, {report.bytes / 1e6:,.1f} MB"),
    ]  # fmt: skip
    if ranks:
        facts.insert(4, ("ranks", f"{min(ranks)} to {max(ranks)}"))
    facts += [("warning", warning) for warning in report.warnings]
    return Section(definitions(facts), {}, title)
