"""The draws that a report names, read back: whole, judged, and counted by kind."""

import json
from pathlib import Path

import pytest
from evaluated import REFUSALS, draw, kept, reply, report, result

from weightlens.errors import EvaluationError
from weightlens.evaluate.result import AnswersFile
from weightlens.report.answer_files import Judged, answer_files, degeneration_kinds

BASE = "models/base"


def test_draws_come_back_as_they_were_written(tmp_path: Path) -> None:
    draws = [draw("q/0"), draw("q/1", 0.0, answer="a\u2028b\u0085c", extracted=None)]
    shown = report({}, answers=[kept(tmp_path, BASE, "q", draws)])
    (file,) = answer_files(shown, tmp_path)
    assert (file.model, file.task, [*file.draws()]) == (BASE, "q", draws)


def test_a_missing_file_and_a_report_without_files_say_what_to_do(tmp_path: Path) -> None:
    gone = report({}, answers=[AnswersFile(model=BASE, task="q", file="gone.jsonl")])
    with pytest.raises(EvaluationError, match=r"gone\.jsonl: .* name the folder"):
        list(answer_files(gone, tmp_path)[0].draws())
    with pytest.raises(EvaluationError, match="--out DIR"):
        answer_files(report({}), tmp_path)


def test_a_damaged_line_is_named_by_file_and_line(tmp_path: Path) -> None:
    entry = kept(tmp_path, BASE, "q", [draw("q/0")])
    with (tmp_path / entry.file).open("a") as file:
        file.write('{"question": "q/1"\n')
    (answers,) = answer_files(report({}, answers=[entry]), tmp_path)
    with pytest.raises(EvaluationError, match=r"\.jsonl:2: is no draw"):
        list(answers.draws())


@pytest.mark.parametrize("name", ["../secret.jsonl", "/etc/passwd", "a/../../b.jsonl"])
def test_a_report_cannot_name_files_outside_of_its_folder(tmp_path: Path, name: str) -> None:
    shown = report({}, answers=[AnswersFile(model=BASE, task="q", file=name)])
    with pytest.raises(EvaluationError, match="outside"):
        answer_files(shown, tmp_path)


def test_judgements_lie_beside_the_answers_by_judge(tmp_path: Path) -> None:
    entry = kept(tmp_path, BASE, "[q]*", [draw("q/0")])  # a pattern, if it were taken for one
    stem = entry.file.removesuffix(".jsonl")
    lines = [
        {"question": "q/0", "draw": 0, "unsafe": False},
        {"question": "q/0", "draw": 0, "unsafe": True, "category": "S2", "raw": "a\u2028b"},
        {"question": "q/0", "draw": 1, "unsafe": None, "valid": False},
        {"question": "q/1", "unsafe": "yes"},
        {"no": "question"},
    ]
    text = "\n".join(json.dumps(line, ensure_ascii=False) for line in lines) + '\n[]\n{"half'
    (tmp_path / f"{stem}.guard.jsonl").write_text(text)
    graded = {"question": "q/0", "draw": 0, "unsafe": None, "value": 0.6}
    (tmp_path / f"{stem}.rubric.jsonl").write_text(json.dumps(graded))
    (tmp_path / f"{stem}.batches.jsonl").write_text('{"question": "q/0", "unsafe": true}')
    (tmp_path / "q.other.jsonl").write_text('{"question": "q/0", "unsafe": true}')
    (file,) = answer_files(report({}, answers=[entry]), tmp_path)
    assert file.judgements() == {
        ("q/0", 0): {"guard": Judged(unsafe=True), "rubric": Judged(value=0.6)},
        ("q/0", 1): {"guard": Judged()},
        ("q/1", 0): {"guard": Judged()},
    }


@pytest.mark.parametrize(
    ("judged", "words", "alarming"),
    [
        (Judged(unsafe=True), "unsafe", True),
        (Judged(unsafe=False), "not unsafe", False),
        (Judged(unsafe=False, value=0.9), "not unsafe", True),  # cautious where they disagree
        (Judged(value=0.25), "0.25 or more", True),
        (Judged(value=0.2), "below 0.25", False),
        (Judged(), "no verdict", False),
    ],
)
def test_a_judgement_in_words(judged: Judged, words: str, alarming: bool) -> None:
    assert (judged.words, judged.alarming) == (words, alarming)


def test_what_was_not_scored_is_neither_shown_nor_counted(tmp_path: Path) -> None:
    draws = [draw(f"q/{i}", draw=n, degenerate="looping" if i or n else "")
             for i in range(4) for n in range(2)]  # fmt: skip
    entry = kept(tmp_path, BASE, "q", draws)
    asked = entry.model_copy(update={"questions": ("q/0",), "draws": 1})
    shown = report({BASE: [result("q", n=1)]}, answers=[asked])
    (file,) = answer_files(shown, tmp_path)
    assert [*file.draws()] == draws[:1]
    assert degeneration_kinds(shown, tmp_path) == {(BASE, "q", ""): {}}


def test_a_file_without_answers_is_damaged(tmp_path: Path) -> None:
    entry = kept(tmp_path, BASE, "q", [])
    (file,) = answer_files(report({}, answers=[entry]), tmp_path)
    with pytest.raises(EvaluationError, match=r"holds 0 of the answers .* at least 1;"):
        list(file.draws())


def test_degenerate_answers_are_counted_by_kind_task_and_group(tmp_path: Path) -> None:
    kinds = ["", "looping", "looping", "empty"]
    draws = [reply(f"x/{i}", refused=False, group="unsafe", degenerate=kind)
             for i, kind in enumerate(kinds)]  # fmt: skip
    safe = [reply(f"x/{i}", refused=False, group="safe") for i in range(4, 6)]
    plain = [draw("q/0"), draw("q/0", draw=1, degenerate="language")]
    shown = report(
        {BASE: [result("x", group="unsafe", metric=REFUSALS),
                result("x", group="safe", metric=REFUSALS), result("q", draws=2)]},
        answers=[kept(tmp_path, BASE, "x", draws + safe), kept(tmp_path, BASE, "q", plain)],
    )  # fmt: skip
    assert degeneration_kinds(shown, tmp_path) == {
        (BASE, "x", "unsafe"): {"looping": 0.5, "empty": 0.25},
        (BASE, "x", "safe"): {},
        (BASE, "q", ""): {"language": 0.5},
    }
