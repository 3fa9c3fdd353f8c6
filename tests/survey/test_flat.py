"""Flat tables and limits."""

import csv
import io
from pathlib import Path

import pytest
from checkpoints import Folders
from typer.testing import CliRunner

from weightlens.errors import CheckFailed, InputError
from weightlens.survey.flat import to_csv
from weightlens.survey.limits import check_limits, parse_limit
from weightlens.survey.overlap import measure_overlap
from weightlens.survey.result import OverlapReport
from weightlens_cli.main import app


@pytest.fixture
def report(folders: Folders) -> OverlapReport:
    return measure_overlap(folders.base, [folders.full, folders.adapter])


def test_csv_reads_back_as_the_report(report: OverlapReport) -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv(report))))
    assert len(rows) == 28
    first, matrix = rows[0], report.models[0].matrices[0]
    assert first["name"] == matrix.name
    assert (int(first["m"]), int(first["n"])) == matrix.shape
    assert float(first["column.overlap"]) == matrix.column.overlap
    assert float(first["subspace.gap"]) == matrix.subspace.gap
    assert rows[-1]["kind"] == "adapter"
    assert rows[-1]["delta.rounding_share"] == ""


def test_pandas_holds_the_same_rows(report: OverlapReport) -> None:
    frame = report.to_pandas()
    rows = report.rows()
    assert list(frame.columns) == list(rows[0])
    assert frame["row.z"].tolist() == pytest.approx([r["row.z"] for r in rows])
    by_module = frame.groupby("module")["column.overlap"].mean()
    assert by_module["mlp.up_proj"] > 0


def test_limits_fail_above_and_pass_at_their_value(report: OverlapReport) -> None:
    value = report.models[0].summary.all.column_by_energy
    assert value is not None
    check_limits(report, [parse_limit("column=0.99"), parse_limit("row_over_chance=5")])
    with pytest.raises(CheckFailed, match=r"column_by_energy of .*full is .*, above 0\.01"):
        check_limits(report, [parse_limit("column=0.01")])


@pytest.mark.parametrize("text", ["colunm=0.3", "column", "column=much", "=", "matrices=3"])
def test_limits_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="--fail-above"):
        parse_limit(text)


def test_the_command_writes_csv_and_exits_1_above_a_limit(folders: Folders, tmp_path: Path) -> None:
    target = tmp_path / "o.csv"
    arguments = ["overlap", str(folders.base), str(folders.full), "--csv", str(target)]
    done = CliRunner().invoke(app, [*arguments, "--fail-above", "row=0.0001"])
    assert done.exit_code == 1
    assert "check failed: row_by_energy of" in done.stderr
    assert len(target.read_text().splitlines()) == 15
    done = CliRunner().invoke(app, [*arguments, "--fail-above", "row=1"])
    assert done.exit_code == 0
