"""`weightlens doctor`: true, and silent about the token."""

import json
import re
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
from typer.testing import CliRunner

from weightlens.machine import CORE, EXTRAS, _memory, inspect_machine
from weightlens.report.machine_table import machine_table
from weightlens_cli.main import app


def test_it_says_what_is_here_but_never_the_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_nobodyshouldseethis")
    shown = CliRunner().invoke(app, ["doctor"])
    told = CliRunner().invoke(app, ["doctor", "--json", "-"])
    assert shown.exit_code == told.exit_code == 0, (shown.output, told.output)
    assert "a token is there" in shown.output
    assert "nobodyshouldseethis" not in shown.output + told.output
    machine = json.loads(told.output)
    assert machine["schema"] == "weightlens.doctor/1" and machine["token"] is True
    assert machine["core"]["torch"] == version("torch")


def test_what_is_missing_comes_with_its_remedy() -> None:
    machine = inspect_machine()
    without = machine.model_copy(update={"extras": {"vllm": {"vllm": None}}, "token": False})
    rows = [str(cell) for column in machine_table(without).columns for cell in column.cells]
    assert "without vllm: pip install 'weightlens-toolkit[vllm]'" in rows
    assert any("no token" in row for row in rows)


# From /proc/meminfo, in KiB
def test_memory_is_read_in_bytes_and_unknown_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 4 kB\nMemFree: 1 kB\nMemAvailable: 2 kB\n")
    assert _memory(tmp_path / "meminfo") == (4096, 2048)
    assert _memory(tmp_path / "absent") is None


def test_the_extras_are_those_of_the_package() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    optional = project["optional-dependencies"]
    names = {
        extra: {re.split(r"[><=\[]", line)[0] for line in lines} - {"weightlens-toolkit"}
        for extra, lines in optional.items()
        if extra != "dev"
    }
    assert set(names) == set(EXTRAS)
    assert all(names[extra] <= set(EXTRAS[extra]) for extra in EXTRAS)
    assert set(CORE) <= {re.split(r"[><=\[]", line)[0] for line in project["dependencies"]}
