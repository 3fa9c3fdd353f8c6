"""Answers that are there already, scored."""

import json
from pathlib import Path

import pytest
from embedded_models import BASE, FULL, SMALL, draws, wanted
from own_tasks import write_task

from weightlens.errors import EvaluationError
from weightlens.evaluate.builtin import REASONING
from weightlens.evaluate.chosen import Changes, Wanted
from weightlens.evaluate.rescoring import rescore, score_answers
from weightlens.evaluate.run import evaluate_models

TASK = Wanted(tasks=("reasoning",))
QUESTIONS = REASONING.questions("test", 4)


def answers(file: Path, *lines: dict[str, object]) -> Path:
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file


def test_answers_from_elsewhere_are_scored_without_their_thinking(tmp_path: Path) -> None:
    file = answers(
        tmp_path / "a.jsonl",
        {"question": QUESTIONS[0].id, "answer": f"<think>{QUESTIONS[1].reference}</think>"
         f"{QUESTIONS[0].reference}"},
        {"question": QUESTIONS[1].id, "answer": "<think>and on", "truncated": True},
    )  # fmt: skip
    report = score_answers([file], TASK)
    (result,) = report.models[0].tasks
    assert (result.value, result.n, result.truncated, result.degenerate) == (0.5, 2, 0.5, 0.5)
    assert report.notes == [f"reasoning: {file} answers 2 of 600 questions"]


def test_two_files_are_compared_on_the_questions_they_share(tmp_path: Path) -> None:
    right = [{"question": q.id, "answer": q.reference} for q in QUESTIONS]
    wrong = [{"question": q.id, "answer": "no"} for q in QUESTIONS[:3]]
    one, two = answers(tmp_path / "a", *right), answers(tmp_path / "b", *wrong)
    (pair,) = score_answers([one, two], TASK).pairs
    assert (pair.difference, pair.a_only, pair.b_only) == (-1, 3, 0)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([{"question": "nonsense", "answer": "5"}], r"f:1: reasoning has no question 'nonsense'"),
        ([{"question": QUESTIONS[0].id, "answer": "5"}] * 2, "f:2: draw 0 of .* twice"),
        ([{"question": QUESTIONS[0].id, "anwser": "5"}], "f:1: is no answer; a line is"),
        ([{"question": QUESTIONS[0].id, "draw": -1, "answer": "5"}], "f:1: is no answer"),
        ([["question"]], "f:1: is no answer"),
        ([{"question": "no\u2028ne", "answer": "5\u0085"}], r"f:1: reasoning has no question"),
        ([], "holds no answer"),
    ],
)
def test_lines_that_are_no_answers_are_refused(
    tmp_path: Path, lines: list[dict[str, object]], message: str
) -> None:
    with pytest.raises(EvaluationError, match=message):
        score_answers([answers(tmp_path / "f", *lines)], TASK)


def test_answers_may_hold_what_ends_lines_elsewhere(tmp_path: Path) -> None:
    """U+2028, U+0085 and a form feed's kin are letters of a JSON string, and blank lines count."""
    said = f"<think>a\u2028b\u0085c\u2029d</think>{QUESTIONS[0].reference}"
    line = json.dumps({"question": QUESTIONS[0].id, "answer": said}, ensure_ascii=False)
    file = tmp_path / "f"
    file.write_text(f"\ufeff{line}\r\n", encoding="utf-8")
    assert score_answers([file], TASK).models[0].tasks[0].value == 1
    file.write_text(f"{line}\n\n \n{line}\n", encoding="utf-8")
    with pytest.raises(EvaluationError, match=r"f:4: draw 0 of .* twice"):
        score_answers([file], TASK)


def test_files_that_cannot_be_read_and_several_tasks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="cannot be read"):
        score_answers([tmp_path / "nowhere"], TASK)
    (tmp_path / "f").write_bytes(b"\xff\xfe")
    with pytest.raises(EvaluationError, match=r"answers cannot be read \(it is not UTF-8"):
        score_answers([tmp_path / "f"], TASK)
    with pytest.raises(EvaluationError, match="one task"):
        score_answers([tmp_path / "f"], Wanted(suite="builtin"))


def test_a_run_is_scored_again_without_being_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scorer changes: every answer is right now; the version says so, and a later run goes on
    with these answers."""
    from dataclasses import replace

    from weightlens.evaluate import catalogue
    from weightlens.evaluate.backends.static import StaticBatching
    from weightlens.evaluate.task import Verdict

    before = evaluate_models([BASE, FULL], wanted=wanted(8), settings=SMALL, out=tmp_path)
    assert before.models[1].tasks[0].value < 1
    assert rescore(tmp_path, Wanted()) == before
    plain = catalogue.load

    def lenient(*args: object, **kwargs: object) -> catalogue.Loaded:
        loaded = plain(*args, **kwargs)
        task = replace(loaded.task, version=2, score=lambda question, answer: Verdict(1.0, answer))
        return replace(loaded, task=task)

    monkeypatch.setattr(catalogue, "load", lenient)
    monkeypatch.setattr(StaticBatching, "generate", None)
    after = rescore(tmp_path, Wanted())
    assert [model.tasks[0].value for model in after.models] == [1, 1]
    assert [model.tasks[0].version for model in after.models] == [2, 2]
    assert {draw.verdict for draw in draws(tmp_path, FULL)} == {1.0}
    assert evaluate_models([BASE, FULL], wanted=wanted(8), settings=SMALL, out=tmp_path) == after


def test_questions_that_have_changed_are_not_scored_again(tmp_path: Path) -> None:
    evaluate_models([BASE], wanted=wanted(4), settings=SMALL, out=tmp_path)
    (file,) = (f for f in tmp_path.glob("*.jsonl") if ".batches" not in f.name)
    text = file.read_text()
    prompt = QUESTIONS[2].prompt
    file.write_text(text.replace(f'"prompt":"{prompt}"', '"prompt":"what?"'))
    with pytest.raises(EvaluationError, match="is not what was asked"):
        rescore(tmp_path, Wanted(changes=Changes()))


def test_a_folder_without_a_report_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match="cannot be read"):
        rescore(tmp_path, Wanted())
    (tmp_path / "eval.json").write_text("{}")
    with pytest.raises(EvaluationError, match="no report"):
        rescore(tmp_path, Wanted())


def test_a_task_of_ones_own_is_scored_again_by_its_file(tmp_path: Path) -> None:
    """The report keeps its name alone, and the name of the file may be another."""
    task = write_task(tmp_path / "own", name="mine")
    also = Wanted(tasks=("reasoning", str(task)), changes=Changes(limit=2))
    out = tmp_path / "out"
    before = evaluate_models([BASE], wanted=also, settings=SMALL, out=out)
    with pytest.raises(EvaluationError, match=r"mine: .* --task PATH"):
        rescore(out, Wanted())
    with pytest.raises(EvaluationError, match=r"mine: .* --task PATH"):
        rescore(out, Wanted(tasks=("reasoning",)))
    assert rescore(out, Wanted(tasks=(str(task),))) == before
    task.rename(task.with_name("renamed.yaml"))
    assert rescore(out, Wanted(tasks=(str(task.with_name("renamed.yaml")),))) == before
