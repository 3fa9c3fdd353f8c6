"""Evaluation results as CSV: a line a score, and a line a difference."""

import csv
import io
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from weightlens.evaluate.result import EvalReport, PairResult
from weightlens.report.eval_parts import KIND_NAMES, NO_KINDS, Kinds

Cell = str | int | float | bool | None


def scores_csv(report: EvalReport, kinds: Kinds = NO_KINDS) -> str:
    """A line for every model, task and group, with all that was measured, shares from 0 to 1; None
    is an empty cell.

    kinds: shares of the draws that degenerated in each way, as columns of their own. Further
    figures have columns named `more.NAME`.
    """
    rows = []
    for model in report.models:
        for result in model.tasks:
            fields = _flat(result.model_dump(exclude={"more"}))
            of_kinds = kinds.get((model.model, result.task, result.group))
            if of_kinds is not None:
                fields |= {f"degenerate.{kind}": of_kinds.get(kind, 0.0) for kind in KIND_NAMES}
            fields |= {f"more.{name}": value for name, value in result.more.items()}
            rows.append({"model": model.model, "hash": model.hash, **fields})
    return _csv(rows, list(dict.fromkeys(key for row in rows for key in row)))


def pairs_csv(report: EvalReport) -> str:
    """A line for every two models, task and group: b minus a."""
    rows = [_flat(pair.model_dump()) for pair in report.pairs]
    return _csv(rows, [c for name in PairResult.model_fields for c in _columns(name)])


def _flat(fields: Mapping[str, Any]) -> dict[str, Cell]:
    cells: dict[str, Cell] = {}
    for name, value in fields.items():
        values = value if name == "ci95" else (value,)
        cells |= dict(zip(_columns(name), values, strict=True))
    return cells


def _columns(field: str) -> tuple[str, ...]:
    return ("ci95.low", "ci95.high") if field == "ci95" else (field,)


def _csv(rows: Sequence[Mapping[str, Cell]], columns: Collection[str]) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()
