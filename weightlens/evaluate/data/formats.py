"""Rows out of the bytes of a file: JSON lines, JSON, CSV and parquet, each also as .gz."""

import csv
import gzip
import io
import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from weightlens.errors import EvaluationError
from weightlens.evaluate.json_lines import numbered

Row = dict[str, Any]

LARGEST = 2**30
"""Bytes of a file, unpacked; a task's data is a thousandth of it."""


def read_rows(content: bytes, name: str, columns: Sequence[str] | None = None) -> list[Row]:
    """The rows of a file, at least one.

    name: says the format by its ending, and the file in errors. columns: names for a CSV without a
    header. Raises EvaluationError, with the line where the format has lines.
    """
    stem = name
    if name.endswith(".gz"):
        content, stem = _unpacked(content, name), name.removesuffix(".gz")
    ending = stem.rpartition(".")[2].lower()
    if ending not in _READERS:
        known = ", ".join(f".{known}" for known in _READERS)
        raise EvaluationError(f"{name}: not a format of data; {known} and .gz of them are")
    if columns is not None and ending != "csv":
        raise EvaluationError(f"{name}: columns are named for a CSV only")
    rows = _csv(content, name, columns) if ending == "csv" else _READERS[ending](content, name)
    if not rows:
        raise EvaluationError(f"{name}: holds no rows")
    return rows


def _unpacked(content: bytes, name: str) -> bytes:
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
            unpacked = file.read(LARGEST + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise EvaluationError(f"{name}: damaged, or not gzip ({error})") from error
    if len(unpacked) > LARGEST:
        raise EvaluationError(f"{name}: larger than {LARGEST >> 20} MiB unpacked")
    return unpacked


def _text(content: bytes, name: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise EvaluationError(f"{name}:{line}: not text in UTF-8") from error


def _json_lines(content: bytes, name: str) -> list[Row]:
    rows = []
    for number, line in numbered(io.StringIO(_text(content, name))):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            message = getattr(error, "msg", "nested too deeply")
            raise EvaluationError(f"{name}:{number}: a damaged line: {message}") from error
        if not isinstance(row, dict):
            raise EvaluationError(f"{name}:{number}: each line is one object, in braces")
        rows.append(row)
    return rows


def _json(content: bytes, name: str) -> list[Row]:
    try:
        rows = json.loads(_text(content, name))
    except json.JSONDecodeError as error:
        raise EvaluationError(f"{name}:{error.lineno}: damaged: {error.msg}") from error
    except (ValueError, RecursionError) as error:
        raise EvaluationError(f"{name}: damaged: nested too deeply") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise EvaluationError(f"{name}: a list of objects is wanted")
    return rows


def _csv(content: bytes, name: str, columns: Sequence[str] | None = None) -> list[Row]:
    reader = csv.reader(io.StringIO(_text(content, name), newline=""), strict=True)
    lines = _csv_lines(reader, name)
    header = list(columns) if columns is not None else next(lines, [])
    if len(set(header)) != len(header):
        raise EvaluationError(f"{name}:1: two columns have the same name")
    rows = []
    for values in lines:
        if len(values) != len(header):
            raise EvaluationError(
                f"{name}:{reader.line_num}: {len(values)} values for {len(header)} columns"
            )
        rows.append(dict(zip(header, values, strict=True)))
    return rows


def _csv_lines(reader: Any, name: str) -> Iterator[list[str]]:
    try:
        yield from (values for values in reader if values)
    except csv.Error as error:
        raise EvaluationError(f"{name}:{reader.line_num}: a damaged line: {error}") from error


def _parquet(content: bytes, name: str) -> list[Row]:
    try:
        import pyarrow as arrow
        from pyarrow import parquet
    except ImportError as error:
        raise EvaluationError(
            f"{name}: parquet needs pyarrow: pip install 'weightlens-toolkit[eval]'"
        ) from error
    try:
        rows: list[Row] = parquet.read_table(io.BytesIO(content)).to_pylist()
    except (arrow.ArrowException, OSError, ValueError) as error:
        reason = str(error).split("\n")[0]
        raise EvaluationError(f"{name}: damaged, or not parquet ({reason})") from error
    return rows


_READERS: dict[str, Callable[[bytes, str], list[Row]]] = {
    "jsonl": _json_lines,
    "json": _json,
    "csv": _csv,
    "parquet": _parquet,
}
