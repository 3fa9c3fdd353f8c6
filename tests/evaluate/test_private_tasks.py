"""Of a private task nothing that was asked or said is written anywhere: only ids and hashes."""

import json
from dataclasses import replace
from pathlib import Path

from embedded_models import BASE, FULL, SMALL
from own_tasks import write_task
from typer.testing import CliRunner

from weightlens.evaluate.asking import Said, draw_of
from weightlens.evaluate.backends.backend import Reply
from weightlens.evaluate.builtin import REASONING
from weightlens.evaluate.chosen import Wanted
from weightlens.evaluate.plan import Ask
from weightlens.evaluate.run import evaluate_models
from weightlens.evaluate.task import Question, Verdict
from weightlens_cli.main import app

QUESTIONS = REASONING.questions("test", 3)
ROWS = [{"id": f"secret-{i}", "sum": q.prompt, "total": q.reference}
        for i, q in enumerate(QUESTIONS)]  # fmt: skip


def test_records_pages_and_tables_hold_ids_and_hashes_alone(tmp_path: Path) -> None:
    given = {"prompt": "{{ sum }}", "id": "{{ id }}", "scorer": "exact", "metric": "accuracy"}
    asked = {"sampling": {"max_new_tokens": 80}}
    open_, private = (
        write_task(tmp_path / name, ROWS, name=name, private=name == "private", **given, **asked)
        for name in ("open", "private")
    )
    out, told = tmp_path / "out", tmp_path / "told"
    told.mkdir()
    options = [f"--{form}={told / f'r.{form}'}" for form in ("json", "csv", "markdown", "html")]
    command = ["eval", BASE, FULL, "--task", str(private), "--out", str(out), *options]
    shown = CliRunner().invoke(app, [*command, "--dtype", "float32", "--device", "cpu"])
    assert shown.exit_code == 0, shown.output
    written = "".join(
        file.read_text() for folder in (out, told) for file in folder.iterdir() if file.is_file()
    )
    assert "secret-1" in written and "sha256:" in written
    plain = evaluate_models([BASE], wanted=Wanted(tasks=(str(open_),)), settings=SMALL,
                            out=tmp_path / "plain")  # fmt: skip
    (file,) = (tmp_path / "plain" / entry.file for entry in plain.answers)
    draws = [json.loads(line) for line in file.read_text().splitlines()]
    assert len(draws) == 3
    for draw in draws:
        assert draw["prompt"] not in written + shown.output
        for text in (draw["raw"], draw["answer"], draw["reference"]):
            assert text and json.dumps(text) not in written and f">{text}<" not in written


def test_of_an_outcome_the_kind_alone_is_kept() -> None:
    """A failed program's outcome quotes the line of the test that failed."""

    def score(question: Question, answer: str) -> Verdict:
        return Verdict(0.0, "return 41", "failed: AssertionError: assert answer() == 42")

    open_ = replace(REASONING, score=score)
    said = Said("return 41", "return 41", Reply((1,), "stop"))
    kept, hidden = (
        draw_of(task, QUESTIONS[0], Ask(QUESTIONS[0].id, 0), said, None)
        for task in (open_, replace(open_, private=True))
    )
    assert kept.outcome == "failed: AssertionError: assert answer() == 42"
    assert hidden.outcome == "failed" and "AssertionError" not in hidden.model_dump_json()
