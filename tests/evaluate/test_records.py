"""Answers on disk: whole batches, and going on after being killed anywhere."""

import json
from pathlib import Path

import pytest
from embedded_models import draw

from weightlens.errors import EvaluationError, OutputError
from weightlens.evaluate.plan import Ask, BatchPlan, draws_of
from weightlens.evaluate.records import Answers, digest

IDENTITY = {"task": "t", "weights": "abc", "sampling": {"temperature": 0.6}}
PLAN = BatchPlan().extended(draws_of("abcde", 2), dict.fromkeys("abcde", 1), 4)
"""Batches of 4, 4 and 2 draws."""


def fill(folder: Path, batches: range, stem: str = "m") -> Path:
    with Answers(folder, stem, IDENTITY) as answers:
        answers.set_plan(PLAN)
        for number in batches:
            answers.add(number, [draw(ask) for ask in PLAN.batches[number]], 0.5)
        assert answers.file is not None
        return answers.file


def test_what_was_kept_is_there_again(tmp_path: Path) -> None:
    file = fill(tmp_path, range(2))
    with Answers(tmp_path, "m", IDENTITY) as answers:
        assert answers.plan == PLAN
        assert set(answers.done) == {ask for batch in PLAN.batches[:2] for ask in batch}
        assert answers.has([Ask("a", 0)]) and not answers.has([Ask("a", 0), Ask("e", 1)])
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [(line["question"], line["draw"]) for line in lines[:3]] == [
        ("a", 0), ("a", 1), ("b", 0),
    ]  # fmt: skip
    timings = (tmp_path / "m.batches.jsonl").read_text().splitlines()
    assert json.loads(timings[1]) == {"batch": 1, "draws": 4, "tokens": 12, "seconds": 0.5}


@pytest.mark.parametrize("cut", [1, 50, 200, -1])
def test_after_being_killed_in_a_batch_that_batch_is_asked_again(tmp_path: Path, cut: int) -> None:
    """cut: bytes of the second batch that were written."""
    whole = fill(tmp_path / "whole", range(3)).read_bytes()
    file = fill(tmp_path / "killed", range(1))
    end = len(file.read_bytes())
    file.write_bytes(whole[: end + cut] if cut > 0 else whole[:cut])
    kept = 1 if cut > 0 else 2
    with Answers(tmp_path / "killed", "m", IDENTITY) as answers:
        assert len(answers.done) == sum(map(len, PLAN.batches[:kept]))
        for number in range(kept, 3):
            answers.add(number, [draw(ask) for ask in PLAN.batches[number]], 0.1)
    assert file.read_bytes() == whole


def test_lines_that_no_plan_explains_are_an_error_and_stay(tmp_path: Path) -> None:
    file = fill(tmp_path, range(3))
    lines = file.read_text().splitlines(keepends=True)
    changed = "".join(["not JSON\n", *lines[1:]])
    file.write_text(changed)
    with (
        pytest.raises(EvaluationError, match="line 1 is not what"),
        Answers(tmp_path, "m", IDENTITY),
    ):
        pass
    assert file.read_text() == changed


def test_a_plan_that_is_damaged_or_anothers_is_refused(tmp_path: Path) -> None:
    fill(tmp_path, range(1))
    with (
        pytest.raises(EvaluationError, match="another evaluation"),
        Answers(tmp_path, "m", IDENTITY | {"weights": "abd"}),
    ):
        pass
    (tmp_path / "m.plan.json").write_text("{")
    with pytest.raises(EvaluationError, match="damaged"), Answers(tmp_path, "m", IDENTITY):
        pass


def test_two_runs_do_not_write_one_file(tmp_path: Path) -> None:
    with (
        Answers(tmp_path, "m", IDENTITY),
        pytest.raises(OutputError, match="another run"),
        Answers(tmp_path, "m", IDENTITY),
    ):
        pass


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(OutputError, match="cannot be written"),
        Answers(tmp_path / "file", "m", IDENTITY),
    ):
        pass


def test_draws_scored_again_take_their_places_under_their_new_identity(tmp_path: Path) -> None:
    file = fill(tmp_path, range(2), "m.00000000")
    with Answers.reopened(file) as answers:
        assert answers.identity == IDENTITY
        again = {Ask("b", 1): draw(Ask("b", 1), verdict=0.0)}
        moved = answers.replaced(again, {"version": 2})
    now = IDENTITY | {"version": 2}
    assert moved.name == f"m.{digest(now)}.jsonl"
    assert {path.name.partition(digest(now))[2] for path in tmp_path.iterdir()} == {
        ".jsonl", ".plan.json", ".batches.jsonl",
    }  # fmt: skip
    verdicts = [json.loads(line)["verdict"] for line in moved.read_text().splitlines()]
    assert verdicts == [1, 1, 1, 0, 1, 1, 1, 1]
    with Answers.reopened(moved) as answers:
        assert answers.identity == now and answers.done[Ask("b", 1)].verdict == 0
        assert answers.replaced({}, {"version": 2}) == moved
    assert len(moved.read_text().splitlines()) == 8


def test_answers_without_their_plan_cannot_be_reopened(tmp_path: Path) -> None:
    file = fill(tmp_path, range(1))
    (tmp_path / "m.plan.json").unlink()
    with pytest.raises(EvaluationError, match="missing or damaged"):
        Answers.reopened(file)


def test_without_a_folder_answers_live_in_memory() -> None:
    with Answers(None, "m", IDENTITY) as answers:
        answers.set_plan(PLAN)
        answers.add(0, [draw(ask) for ask in PLAN.batches[0]], 0.1)
        assert answers.file is None and len(answers.done) == 4


def test_identities_are_told_apart_whatever_their_order() -> None:
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1}) != digest({"a": 1, "b": 3})
    assert len(digest({})) == 8
