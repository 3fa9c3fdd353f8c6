"""`weightlens extract` from the command line."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from checkpoints import Folders, llama_tensors, moved, write_model
from typer.testing import CliRunner

from weightlens.checkpoint.adapter import Adapter
from weightlens_cli.main import app

runner = CliRunner()


def test_help_imports_no_torch() -> None:
    code = (
        "import sys\nfrom weightlens_cli.main import app\n"
        "try:\n    app(['extract', '--help'])\nexcept SystemExit:\n    pass\n"
        "print([m for m in ('torch', 'scipy', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "--save-rest" in done.stdout
    assert done.stdout.strip().splitlines()[-1] == "[]"


def test_the_table_says_what_is_kept_and_what_is_left_out(folders: Folders, tmp_path: Path) -> None:
    out, target = tmp_path / "out", tmp_path / "report.json"
    arguments = ["extract", str(folders.base), str(folders.full), str(out)]
    done = runner.invoke(app, [*arguments, "--json", str(target)])
    assert done.exit_code == 0, done.output
    said = " ".join(done.output.split())
    for word in ("q_proj", "energy 0.9", "‖Δ−BA‖/‖Δ‖", "Left out: 2", "embedding", "lm_head"):
        assert word in said
    assert json.loads(target.read_text()) == json.loads((out / "weightlens.json").read_text())
    assert len(Adapter(out).names) == 14
    shown = runner.invoke(app, ["inspect", str(out)])
    assert f"{folders.full} − {folders.base}" in shown.output.replace("\n", "")


def test_json_to_standard_output_is_json_alone(folders: Folders, tmp_path: Path) -> None:
    arguments = ["extract", str(folders.base), str(folders.full), str(tmp_path / "out")]
    done = runner.invoke(app, [*arguments, "--rank", "2", "--save-rest", "--json", "-"])
    report = json.loads(done.stdout)
    assert report["schema"] == "weightlens.extract/1"
    assert report["settings"]["size"] == {"by": "rank", "value": 2, "most": None}
    assert len(report["whole"]) == 2


def test_factors_that_are_larger_than_the_matrices_are_told(
    folders: Folders, tmp_path: Path
) -> None:
    arguments = ["extract", str(folders.base), str(folders.full)]
    large = runner.invoke(app, [*arguments, str(tmp_path / "large"), "--energy", "1"])
    assert "times as many numbers" in " ".join(large.output.split())
    small = runner.invoke(app, [*arguments, str(tmp_path / "small"), "--max-rank", "2"])
    said = " ".join(small.output.split())
    assert "times as many numbers" not in said
    assert "rank by energy 0.9, at most 2" in said
    assert Adapter(tmp_path / "small").factored(Adapter(tmp_path / "small").names[0]).rank == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--rank", "2", "--energy", "0.5"], "give one of"),
        (["--rank", "2", "--noise"], "give one of"),
        (["--rank", "2", "--max-rank", "3"], "--max-rank goes with"),
        (["--energy", "1.5"], "--energy: energy must be above 0 and at most 1"),
        (["--rank", "0"], "--rank: rank must be a whole number of at least 1"),
        (["--max-rank", "0"], "--max-rank: the largest rank must be at least 1"),
        (["--rank", "99"], "so its rank is at most"),
        (["--include", "("], "no regular expression"),
    ],
)
def test_bad_options_get_one_line_and_write_nothing(
    folders: Folders, tmp_path: Path, options: list[str], message: str
) -> None:
    arguments = ["extract", str(folders.base), str(folders.full), str(tmp_path / "out")]
    done = runner.invoke(app, [*arguments, *options])
    assert done.exit_code == 2, (done.output, done.exception)
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("error: ")
    assert message in line
    assert not (tmp_path / "out").exists()


def test_bad_models_get_one_line(folders: Folders, tmp_path: Path) -> None:
    other = write_model(
        tmp_path / "other",
        {n.replace("layers.1", "layers.2"): t for n, t in moved(llama_tensors(0), 1).items()},
    )
    done = runner.invoke(app, ["extract", str(folders.base), str(other), str(tmp_path / "out")])
    assert done.exit_code == 2
    assert "layers.1" in done.stderr
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").touch()
    done = runner.invoke(
        app, ["extract", str(folders.base), str(folders.full), str(tmp_path / "out")]
    )
    assert done.exit_code == 2
    assert "not empty" in done.stderr
