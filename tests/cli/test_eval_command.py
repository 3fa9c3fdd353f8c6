"""`weightlens eval` as it is typed."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from weightlens.evaluate.builtin import REASONING
from weightlens.experiment.tiny.shipped import SHIPPED
from weightlens_cli.main import app

BASE, FULL = str(SHIPPED / "base"), str(SHIPPED / "safe-full")
ASK = ["eval", BASE, FULL, "--task", "reasoning", "--dtype", "float32", "--device", "cpu"]


def run(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == code, (result.output, result.exception)
    return result.output


def test_two_models_side_by_side_in_every_form(tmp_path: Path) -> None:
    out = tmp_path / "out"
    files = {form: tmp_path / f"r.{form}" for form in ("json", "csv", "markdown", "html")}
    options = [part for form, file in files.items() for part in (f"--{form}", str(file))]
    shown = run(*ASK, "--limit", "8", "--out", str(out), *options)
    assert "safe-full against base" in shown
    report = json.loads(files["json"].read_text())
    assert report["schema"] == "weightlens.eval/1" and len(report["pairs"]) == 1
    assert report == json.loads((out / "eval.json").read_text())
    assert files["csv"].read_text().startswith("model,")
    assert "| model |" in files["markdown"].read_text().replace("  ", " ")
    assert "<!doctype html>" in files["html"].read_text()
    again = run("eval", "--rescore", str(out), "--json", "-")
    assert json.loads(again) == report


def test_json_to_standard_output_is_json_alone() -> None:
    assert json.loads(run(*ASK, "--limit", "2", "--json", "-"))["settings"]["limit"] == 2


def test_answers_made_elsewhere_are_scored(tmp_path: Path) -> None:
    questions = REASONING.questions("test", 4)
    file = tmp_path / "answers.jsonl"
    file.write_text("".join(
        json.dumps({"question": q.id, "answer": q.reference}) + "\n" for q in questions
    ))  # fmt: skip
    shown = run("eval", "--answers", str(file), "--task", "reasoning")
    assert "100.0" in shown and "answers 4 of 600 questions" in " ".join(shown.split())


def test_the_catalogue_names_every_task_and_suite() -> None:
    shown = run("eval", "--list")
    for name in ("gsm8k", "gpqa_diamond", "xstest", "suite quick", "suite paper", "--run-code"):
        assert name in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["eval"], "name models to ask"),
        (["eval", BASE, "--answers", "x"], "name models to ask"),
        (["eval", BASE, "--task", "gsm9k"], "no task 'gsm9k'"),
        (["eval", BASE, "--suite", "papre"], "no suite 'papre'"),
        (["eval", BASE, "--task", "humaneval"], "--run-code"),
        ([*ASK, "--draws", "3"], "temperature 0 are one"),
        ([*ASK, "--limit", "1", "--html", "x.html"], "--out DIR"),
        ([*ASK, "--limit", "1", "--judge", "wildguard"], "--out DIR"),
        (["eval", BASE, "--task", "drift"], "name two"),
        (["eval", BASE, "--chat-template", "nowhere"], "cannot be read"),
        (["eval", "--rescore", "nowhere"], "cannot be read"),
        (["eval", BASE, "--task", "gsm8k", "--data", "nowhere"], "no such folder"),
        (["eval", BASE, "--task", "gsm8k"], "gsm8k/test.jsonl"),
    ],
)
def test_what_cannot_be_done_is_one_clear_message(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shown = run(*arguments, code=2)
    assert message in " ".join(shown.split()) and "Traceback" not in shown


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--json", "nowhere/r.json"], "'nowhere/r.json': not a file in a folder that exists"),
        (["--csv", "nowhere/r.csv"], "'nowhere/r.csv': not a file"),
        (["--markdown", "."], "'.': not a file"),
        (["--html", "nowhere/p.html", "--out", "o"], "'nowhere/p.html': not a file"),
        (["--html", "p.html"], "--html shows answers: keep them in a folder with --out DIR"),
        (["--judge", "wildguard"], "--judge reads answers: keep them in a folder with --out DIR"),
        (["--judge", "wildgard", "--out", "o"], "no judge 'wildgard'"),
        (
            ["--judge", "strongreject_rubric", "--out", "o"],
            "any capable chat model may judge; name one",
        ),
        (["--top-p", "0"], "top_p: Input should be greater than 0"),
        (["--temperature", "inf"], "temperature: Input should be a finite number"),
    ],
)
def test_where_results_cannot_go_nothing_is_asked(
    options: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from weightlens.evaluate import run as running

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(running, "evaluate_models", None)
    shown = run(*ASK, "--limit", "1", *options, code=2)
    assert message in " ".join(shown.split()) and "Traceback" not in shown
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("option", [["--out", "o"], ["--html", "p.html"], ["--judge", "wildguard"]])
def test_answers_made_elsewhere_are_kept_nowhere(
    option: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    given = ["eval", "--answers", "a.jsonl", "--task", "reasoning", *option]
    assert "scored and kept nowhere: leave out --out" in run(*given, code=2)
    assert list(tmp_path.iterdir()) == []
