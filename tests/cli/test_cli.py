"""The command line: what is imported, what is printed where, and how it ends."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from checkpoints import Folders, llama_tensors, write_model
from typer.testing import CliRunner

from weightlens_cli.main import app

COMMANDS = (
    "inspect", "overlap", "compare", "merge", "extract", "eval", "card", "push", "report", "runs",
    "demo", "recipe", "doctor",
)  # fmt: skip
HEAVY = ("torch", "scipy", "transformers", "mergekit", "numpy", "plotly", "matplotlib")
runner = CliRunner()


@pytest.mark.parametrize("command", [(), *((c,) for c in COMMANDS), ("recipe", "check")])
def test_help_imports_nothing_heavy(command: tuple[str, ...]) -> None:
    """The reason why every --help answers at once."""
    code = (
        "import sys\nfrom weightlens_cli.main import app\n"
        f"try:\n    app({[*command, '--help']!r})\nexcept SystemExit as end:\n"
        f"    assert end.code == 0\nprint([m for m in {HEAVY!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Usage" in done.stdout
    assert done.stdout.strip().splitlines()[-1] == "[]"


def test_a_merge_imports_no_more_than_it_needs(folders: Folders, tmp_path: Path) -> None:
    """A merge of a small model is mostly start-up."""
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(f"merge_method: slerp\nbase_model: {folders.base}\nparameters: {{t: 0.5}}\n"
                      f"models: [{{model: {folders.full}}}]\n")  # fmt: skip
    arguments = ["merge", str(recipe), str(tmp_path / "out")]
    unwanted = ("scipy", "transformers", "mergekit", "plotly", "matplotlib", "weightlens.evaluate")
    code = (
        f"import sys\nfrom weightlens_cli.main import run\nsys.argv[1:] = {arguments!r}\n"
        "try:\n    run()\nexcept SystemExit as end:\n    assert not end.code\n"
        f"print([m for m in {unwanted!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (tmp_path / "out" / "model.safetensors").is_file()
    assert done.stdout.strip().splitlines()[-1] == "[]"


def test_version() -> None:
    from weightlens.version import VERSION

    assert runner.invoke(app, ["--version"]).output == f"weightlens {VERSION}\n"


def test_overlap_prints_tables_and_writes_json(folders: Folders, tmp_path: Path) -> None:
    target = tmp_path / "o.json"
    arguments = ["overlap", str(folders.base), str(folders.full), str(folders.adapter)]
    done = runner.invoke(app, [*arguments, "--json", str(target)])
    assert done.exit_code == 0, done.output
    assert "q_proj" in done.output
    assert len(json.loads(target.read_text())["models"]) == 2


def test_names_in_brackets_are_names(folders: Folders, tmp_path: Path) -> None:
    """rich would read them as markup."""
    (tmp_path / "full[v2][").mkdir()
    odd = folders.full.rename(tmp_path / "full[v2][" / "b]")
    done = runner.invoke(app, ["overlap", str(folders.base), str(odd)])
    assert done.exit_code == 0
    assert "full[v2][/b]" in done.output.replace("\n", "")


def test_json_to_standard_output_is_json_alone(folders: Folders) -> None:
    done = runner.invoke(app, ["overlap", str(folders.base), str(folders.full), "--json", "-"])
    assert json.loads(done.stdout)["schema"] == "weightlens.overlap/1"


def test_a_model_equal_to_its_base_gets_a_sentence(folders: Folders) -> None:
    done = runner.invoke(app, ["overlap", str(folders.base), str(folders.base)])
    assert done.exit_code == 0
    assert "equals the base" in done.output


def recipe(folders: Folders, tmp_path: Path, text: str = "parameters: {target: 0}") -> Path:
    file = tmp_path / "recipe.yaml"
    file.write_text(
        f"merge_method: strip\nbase_model: {folders.base}\nmodels:\n- model: {folders.full}\n"
        f"  parameters: {{weight: 1.0}}\n{text}\n"
    )
    return file


def test_merge_prints_overlap_before_after_and_as_written(folders: Folders, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = runner.invoke(app, ["merge", str(recipe(folders, tmp_path)), str(out)])
    assert done.exit_code == 0, done.output
    for word in ("before", "after", "as written", "untouched", "chance"):
        assert word in done.output
    assert (out / "weightlens.json").exists()


def test_a_strip_that_does_nothing_is_told(folders: Folders, tmp_path: Path) -> None:
    file = recipe(folders, tmp_path, "parameters: {strength: 0}")
    done = runner.invoke(app, ["merge", str(file), str(tmp_path / "out")])
    assert "the strip changed nothing" in done.output


def one_line(arguments: list[str]) -> str:
    """Runs what must fail with exit code 2; the one line that it says."""
    done = runner.invoke(app, arguments)
    assert done.exit_code == 2, (done.output, done.exception)
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("error: ")
    return line


def test_bad_models_get_one_line_and_exit_code_2(folders: Folders, tmp_path: Path) -> None:
    base = str(folders.base)
    assert "no such folder" in one_line(["overlap", base, str(tmp_path / "nowhere")])
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "no safetensors weights" in one_line(["overlap", base, str(empty)])
    sharded = write_model(tmp_path / "s", llama_tensors(0), shards=2)
    (sharded / "model-00001-of-00002.safetensors").unlink()
    assert "model-00001-of-00002.safetensors is missing" in one_line(
        ["overlap", base, str(sharded)]
    )
    assert "give one of" in one_line(["overlap", base, base, "--rank", "3", "--energy", "0.5"])
    assert "--energy" in one_line(["overlap", base, base, "--energy", "1.5"])
    assert "folder that exists" in one_line(
        ["overlap", base, base, "--json", str(tmp_path / "no" / "x.json")]
    )
    assert "no regular expression" in one_line(["overlap", base, base, "--include", "("])


def test_bad_merges_get_one_line_and_write_nothing(folders: Folders, tmp_path: Path) -> None:
    out = tmp_path / "out"
    misspelt = recipe(folders, tmp_path, "parameters: {tagret: 0}")
    line = one_line(["merge", str(misspelt), str(out)])
    assert "recipe.yaml:6" in line
    assert "did you mean 'target'" in line
    good = recipe(folders, tmp_path)
    out.mkdir()
    (out / "thesis.tex").touch()
    assert "not empty" in one_line(["merge", str(good), str(out)])
    assert [p.name for p in out.iterdir()] == ["thesis.tex"]


def test_a_full_disk_gets_one_line(
    folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    usage = shutil.disk_usage(tmp_path)._replace(free=10)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    line = one_line(["merge", str(recipe(folders, tmp_path)), str(tmp_path / "out")])
    assert "nothing was written" in line
    assert not (tmp_path / "out").exists()


def test_a_model_that_cannot_be_asked_gets_one_line(folders: Folders) -> None:
    assert "cannot load it" in one_line(["eval", str(folders.base), "--limit", "2"])


def test_an_internal_error_is_exit_code_3(
    folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    import weightlens.survey.overlap

    def broken(*arguments: object, **settings: object) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(weightlens.survey.overlap, "measure_overlap", broken)
    done = runner.invoke(app, ["overlap", str(folders.base), str(folders.full)])
    assert done.exit_code == 3
    assert "report it" in done.stderr


def test_an_interrupt_is_exit_code_130(folders: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    import weightlens.survey.overlap

    def interrupted(*arguments: object, **settings: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(weightlens.survey.overlap, "measure_overlap", interrupted)
    done = runner.invoke(app, ["overlap", str(folders.base), str(folders.full)])
    assert done.exit_code == 130
