"""`weightlens recipe`: a recipe to begin with, a check, the methods."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from weightlens.merge.methods import METHODS
from weightlens_cli.main import app

runner = CliRunner()
GOOD = "merge_method: linear\nmodels: [{model: a}, {model: b}]\nparameters: {weight: 1}\n"


@pytest.mark.parametrize("method", [*METHODS, "strip"])
def test_a_new_recipe_passes_its_check(method: str, tmp_path: Path) -> None:
    file = tmp_path / f"{method}.yaml"
    done = runner.invoke(app, ["recipe", "new", method, "--out", str(file)])
    assert (done.exit_code, done.output) == (0, f"recipe: {file}\n")
    printed = runner.invoke(app, ["recipe", "new", method])
    assert printed.stdout == file.read_text()
    checked = runner.invoke(app, ["recipe", "check", str(file)])
    assert checked.exit_code == 0, checked.output
    assert checked.stdout.startswith(f"{file}: OK\n")
    assert "warning" not in checked.output


def test_a_new_recipe_replaces_no_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("mine")
    done = runner.invoke(app, ["recipe", "new", "ties", "--out", str(file)])
    assert done.exit_code == 2
    assert "exists already" in done.output
    assert file.read_text() == "mine"


def test_a_method_that_there_is_not_is_an_input_error() -> None:
    done = runner.invoke(app, ["recipe", "new", "tis"])
    assert done.exit_code == 2
    assert "did you mean 'ties'?" in done.output


def test_check_goes_on_after_an_error_and_ends_with_2(tmp_path: Path) -> None:
    bad, good = tmp_path / "bad.yaml", tmp_path / "good.yaml"
    bad.write_text(GOOD.replace("models", "modles"))
    good.write_text(GOOD)
    done = runner.invoke(app, ["recipe", "check", str(bad), str(good), str(tmp_path / "none.yaml")])
    assert done.exit_code == 2
    assert f"error: {bad}:2: modles: unknown key; did you mean" in done.stderr
    assert "none.yaml: cannot be read" in done.stderr
    assert done.stdout == (
        f"{good}: OK\n  method      linear, pointwise\n  sources     a, b\n"
        "  written     as the sources\n"
    )


def test_leniency_makes_warnings_of_unknown_keys(tmp_path: Path) -> None:
    file = tmp_path / "r.yaml"
    file.write_text(GOOD + "dytpe: float32\n")
    assert runner.invoke(app, ["recipe", "check", str(file)]).exit_code == 2
    done = runner.invoke(app, ["recipe", "check", "--lenient", str(file)])
    assert done.exit_code == 0
    assert f"  warning: {file}:4: dytpe: unknown key; did you mean 'dtype'" in done.stdout


def test_slices_and_transforms_are_told(tmp_path: Path) -> None:
    file = tmp_path / "r.yaml"
    pair = "  - {model: base, layer_range: [%d, %d]}\n  - {model: t, layer_range: [%d, %d]}\n"
    file.write_text(
        "merge_method: strip\nbase_model: base\nslices:\n- sources:\n"
        + pair % (0, 4, 0, 4) + "- sources:\n" + pair % (4, 6, 2, 4)
        + "parameters: {weight: 1, side: row, rank: 8, strength: 0.5, subspace: random}\n"
        "out_dtype: bfloat16\n"
    )  # fmt: skip
    done = runner.invoke(app, ["recipe", "check", str(file)])
    assert done.stdout.splitlines()[1:] == [
        "  method      strip, matrix",
        "  base        base",
        "  sources     t",
        "  slices      2, 6 layers",
        "              0–3 of base 0–3, t 0–3",
        "              4–5 of base 4–5, t 2–3",
        "  transforms  strip row of random subspaces, rank 8, strength 0.5",
        "  written     bfloat16",
    ]


def test_every_recipe_of_a_file_is_checked(tmp_path: Path) -> None:
    file = tmp_path / "r.yaml"
    second = "merge_method: passthrough\nmodels: [{model: half}]\n"
    file.write_text(f"name: half\n{GOOD}---\n{second}")
    done = runner.invoke(app, ["recipe", "check", str(file)])
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[:2] == [f"{file}: OK, 2 recipes", "  half"]
    assert "  the output" in lines
    file.write_text(f"name: half\n{GOOD}---\n{second}dytpe: x\n")
    done = runner.invoke(app, ["recipe", "check", str(file)])
    assert done.exit_code == 2
    assert f"{file}:8: dytpe: unknown key" in done.stderr


def test_an_adapter_is_told_and_what_cannot_become_one(tmp_path: Path) -> None:
    file = tmp_path / "r.yaml"
    file.write_text(f"{GOOD}base_model: c\noutput: adapter\n")
    done = runner.invoke(app, ["recipe", "check", str(file)])
    assert done.stdout.endswith("  written     as the sources, as an adapter\n"), done.output
    file.write_text(GOOD.replace("linear", "karcher").replace(": {weight: 1}", ": {}")
                    + "output: adapter\n")  # fmt: skip
    done = runner.invoke(app, ["recipe", "check", str(file)])
    assert done.exit_code == 2
    assert f"{file}:4: output: adapter: karcher makes no sum" in done.stderr


def test_the_methods_as_a_list_and_as_json(tmp_path: Path) -> None:
    done = runner.invoke(app, ["recipe", "methods"])
    assert done.exit_code == 0
    rows = {line.split()[0] for line in done.stdout.splitlines() if line.strip()}
    assert {f"{name}:" for name in (*METHODS, "strip")} <= rows
    file = tmp_path / "methods.json"
    done = runner.invoke(app, ["recipe", "methods", "--json", str(file)])
    assert done.stdout.endswith(f"json: {file}\n")
    found = json.loads(file.read_text())
    assert found["schema"] == "weightlens.methods/1"
    assert [entry["name"] for entry in found["methods"]] == [*METHODS, "strip"]
    alone = runner.invoke(app, ["recipe", "methods", "--json", "-"])
    assert json.loads(alone.stdout) == found


def test_one_method_is_told_in_full() -> None:
    done = runner.invoke(app, ["recipe", "methods", "ties"])
    assert done.exit_code == 0
    for said in ("trim every delta", "1 or more; a base is needed", "arXiv:2306.01708",
                 "density*: number; default 1.0", "lambda: number; default 1.0"):  # fmt: skip
        assert said in done.stdout
    alone = json.loads(runner.invoke(app, ["recipe", "methods", "ties", "--json", "-"]).stdout)
    assert [entry["name"] for entry in alone["methods"]] == ["ties"]
    wrong = runner.invoke(app, ["recipe", "methods", "tis"])
    assert wrong.exit_code == 2
    assert "did you mean 'ties'?" in wrong.output
