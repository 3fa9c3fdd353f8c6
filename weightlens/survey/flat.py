"""An overlap report as CSV: one row a matrix."""

import csv
import io

from weightlens.survey.result import OverlapReport


def to_csv(report: OverlapReport) -> str:
    """The rows as CSV with a header; None is an empty cell."""
    rows = report.rows()
    columns = list(dict.fromkeys(key for row in rows for key in row))
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()
