"""An overlap report as a flat table: one row a matrix, for CSV and pandas."""

import csv
import io
from typing import Any

from weightlens.survey.result import MatrixRecord, OverlapReport

Cell = str | int | float | None


def flat_rows(report: OverlapReport) -> list[dict[str, Cell]]:
    """A row for every matrix of every model; nested fields are joined by dots.

    Curves are left out: they have many numbers a matrix.
    """
    return [
        {"model": model.model, "kind": model.kind, "step": model.step, **_flat(matrix)}
        for model in report.models
        for matrix in model.matrices
    ]


def to_csv(report: OverlapReport) -> str:
    """The rows as CSV with a header; None is an empty cell."""
    rows = flat_rows(report)
    columns = list(dict.fromkeys(key for row in rows for key in row))
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def _flat(matrix: MatrixRecord) -> dict[str, Cell]:
    cells: dict[str, Cell] = {}
    data: dict[str, Any] = matrix.model_dump(exclude={"curve"})
    m, n = data.pop("shape")
    for key, value in data.items():
        if isinstance(value, dict):
            cells |= {f"{key}.{inner}": v for inner, v in value.items()}
        else:
            cells[key] = value
        if key == "module":
            cells |= {"m": m, "n": n}
    return cells
