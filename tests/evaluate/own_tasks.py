"""Task files of our own making, and the public data where a machine has it."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as arrow
import pytest
import yaml
from pyarrow import parquet

from weightlens.evaluate.task import Question, Scorer, Verdict

SUMS: dict[str, Any] = {
    "name": "sums",
    "version": 1,
    "about": "Sums that nobody needs",
    "licence": "CC0-1.0",
    "data": [{"file": "sums.jsonl"}],
    "prompt": "What is {{ sum }}?",
    "reference": "{{ total }}",
    "scorer": "number",
    "metric": "accuracy",
    "sampling": {"max_new_tokens": 20},
}
ROWS: list[dict[str, Any]] = [
    {"sum": "2 + 3", "total": 5},
    {"sum": "4 + 4", "total": 8},
    {"sum": "9 + 1", "total": 10},
]


def task_text(**changes: Any) -> str:
    """The task file of sums, with some fields changed, or left out where they are None."""
    fields = {key: value for key, value in (SUMS | changes).items() if value is not None}
    return yaml.safe_dump(fields, sort_keys=False, allow_unicode=True)


def write_task(
    folder: Path, rows: Sequence[Mapping[str, Any]] = tuple(ROWS), **changes: Any
) -> Path:
    """The task of sums in a folder, beside its rows as JSON lines; the path of its file."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "sums.jsonl").write_text(lines, encoding="utf-8")
    path = folder / "sums.yaml"
    path.write_text(task_text(**changes), encoding="utf-8")
    return path


def write_parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    """Rows as a parquet file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(arrow.Table.from_pylist(rows), path)


def never(question: Question, answer: str) -> Verdict:
    """A scorer of programs or refusals for tests that score nothing."""
    raise AssertionError("nothing is scored here")


RUN_CODE: dict[Any, Scorer] = {"humaneval": never, "mbpp": never}


def public_data() -> Path:
    """The folder of public data sets; skips the test where there is none."""
    folder = os.environ.get("WEIGHTLENS_DATA")
    if not folder:
        pytest.skip("WEIGHTLENS_DATA names no folder of evaluation data")
    return Path(folder)
