"""Evaluation results as CSV: a line a score, with its difference from the first model's."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from weightlens.evaluate.result import EvalReport
from weightlens.report.eval_parts import KIND_NAMES, NO_KINDS, Kinds, compared_parts

Cell = str | int | float | bool | None


def scores_csv(report: EvalReport, kinds: Kinds = NO_KINDS) -> str:
    """A line for every model, task and group, with all that was measured, shares from 0 to 1; None
    is an empty cell.

    kinds: shares of the draws that degenerated in each way, as columns of their own. Further
    figures have columns named `more.NAME`, and the paired difference from the model `against` those
    that begin with `difference`.
    """
    rows, differences = [], _differences(report)
    for model in report.models:
        for result in model.tasks:
            fields = _flat(result.model_dump(exclude={"more"}))
            of_kinds = kinds.get((model.model, result.task, result.group))
            if of_kinds is not None:
                fields |= {f"degenerate.{kind}": of_kinds.get(kind, 0.0) for kind in KIND_NAMES}
            fields |= {f"more.{name}": value for name, value in result.more.items()}
            place = (model.model, result.task, result.group, result.metric)
            fields |= differences.get(place, {})
            rows.append({"model": model.model, "hash": model.hash, **fields})
    return _csv(rows)


def _differences(report: EvalReport) -> dict[tuple[str, str, str, str], dict[str, Cell]]:
    """By the model that was compared with an earlier one, task, group and metric."""
    parts = compared_parts(report)
    found: dict[tuple[str, str, str, str], dict[str, Cell]] = {}
    for pair in report.pairs:
        part = parts.get((pair.task, pair.group))
        if part is not None:
            rest = _flat(pair.model_dump(exclude={"a", "b", "task", "group", "difference"}))
            fields: dict[str, Cell] = {"against": pair.a, "difference": pair.difference}
            fields |= {f"difference.{name}": value for name, value in rest.items()}
            found.setdefault(part.of(pair.b), fields)
    return found


def _flat(fields: Mapping[str, Any]) -> dict[str, Cell]:
    cells: dict[str, Cell] = {}
    for name, value in fields.items():
        values = value if name == "ci95" else (value,)
        cells |= dict(zip(_columns(name), values, strict=True))
    return cells


def _columns(field: str) -> tuple[str, ...]:
    return ("ci95.low", "ci95.high") if field == "ci95" else (field,)


def _csv(rows: Sequence[Mapping[str, Cell]]) -> str:
    out = io.StringIO()
    columns = list(dict.fromkeys(key for row in rows for key in row))
    writer = csv.DictWriter(out, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()
