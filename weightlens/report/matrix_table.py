"""Every matrix of an overlap report as an HTML table that sorts and filters."""

import json
from collections.abc import Iterator, Sequence
from html import escape

from weightlens.report.names import short_models
from weightlens.survey.result import MatrixRecord, ModelRecord, OverlapRecord

_COLUMNS = ("model", "matrix", "k", "column", "÷ chance", "z", "row", "÷ chance", "z", "both",
            "÷ chance", "‖Δ‖/‖W‖", "rounding", "angle bound", "path")  # fmt: skip


def matrix_table(models: Sequence[ModelRecord], name: str = "matrices") -> str:
    """A line a matrix, under a box to filter by words of the name. name: the table's id."""
    head = "".join(
        f"<th{_left(i)}><button type='button'>{column}</button></th>"
        for i, column in enumerate(_COLUMNS)
    )
    names = short_models([model.model for model in models])
    rows = "".join(
        f"<tr><td>{escape(short)}</td>{_row(matrix)}</tr>"
        for short, model in zip(names, models, strict=True)
        for matrix in model.matrices
    )
    return (
        f"<div class='filter'><input type='search' aria-controls='{name}' "
        "placeholder='filter by name, e.g. layers.3. q_proj' aria-label='filter by name'>"
        "<output></output></div>"
        "<div class='scroll' tabindex='0' role='region' aria-label='every matrix'>"
        f"<table class='sortable' id='{name}'>"
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _left(column: int) -> str:
    return " class='left'" if column == 1 else ""


def _row(matrix: MatrixRecord) -> str:
    name = escape(matrix.name)
    if matrix.expert is not None:
        name += f"<span class='badge'>expert {matrix.expert}</span>"
    if matrix.part is not None:
        name += f"<span class='badge'>{escape(matrix.part)}</span>"
    numbers = (
        matrix.subspace.rank,
        *_against_chance(matrix.column),
        matrix.column.z,
        *_against_chance(matrix.row),
        matrix.row.z,
        *_against_chance(matrix.both),
        matrix.delta.relative_norm,
        matrix.delta.rounding_share,
        matrix.subspace.angle_bound,
    )
    cells = "".join(_cell(value) for value in numbers)
    return f"<td class='left'>{name}</td>{cells}<td>{matrix.subspace.path}</td>"


def _against_chance(measured: OverlapRecord) -> Iterator[float | None]:
    yield measured.overlap
    unknown = measured.overlap is None or not measured.chance
    yield None if unknown else (measured.overlap or 0.0) / measured.chance


def _cell(value: int | float | None) -> str:
    if value is None:
        return "<td data-value=''>–</td>"
    return f"<td data-value='{json.dumps(value)}'>{value:.3g}</td>"
