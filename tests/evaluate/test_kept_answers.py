"""Files of answers that hold more than was scored: another run had asked more."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from embedded_models import BASE, FULL, SMALL, wanted
from own_tasks import write_task

from weightlens.errors import EvaluationError
from weightlens.evaluate import catalogue, judging
from weightlens.evaluate.builtin import REASONING
from weightlens.evaluate.chosen import Changes, Wanted
from weightlens.evaluate.data import Sources
from weightlens.evaluate.judging import judge_run
from weightlens.evaluate.kept import kept_draws
from weightlens.evaluate.rescoring import read_report, rescore
from weightlens.evaluate.result import EvalReport
from weightlens.evaluate.run import evaluate_models
from weightlens.evaluate.safety.judges.judge_model import LocalModel, Request
from weightlens.evaluate.task import Sampling
from weightlens.report.answer_files import answer_files, degeneration_kinds

REFUSALS = Wanted(tasks=("refusal",), changes=Changes(limit=6))
GUARD = """
name: guard
version: 1
model: none
ask:
  messages: [{role: user, content: "{answer}"}]
verdict: {kind: words, pattern: '(?P<verdict>safe|unsafe)', safe: [safe], unsafe: [unsafe]}
"""


def asked(out: Path, *runs: Wanted) -> EvalReport:
    """The report of the last of some runs into one folder."""
    return [evaluate_models([BASE, FULL], wanted=run, settings=SMALL, out=out) for run in runs][-1]


@pytest.fixture
def guard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A judge that calls everything unsafe."""

    def said(requests: Sequence[Request], sampling: Sampling) -> list[str]:
        return ["unsafe"] * len(requests)

    monkeypatch.setattr(judging, "_local", lambda file, loading: LocalModel(said))
    (tmp_path / "guard.yaml").write_text(GUARD)
    return str(tmp_path / "guard.yaml")


def test_of_an_earlier_larger_run_only_what_was_asked_is_scored_again(tmp_path: Path) -> None:
    report = asked(tmp_path, wanted(20), wanted(5))
    assert {task.n for model in report.models for task in model.tasks} == {5}
    assert rescore(tmp_path, Wanted()) == report == read_report(tmp_path)


def test_a_rescoring_that_fails_leaves_all_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first model's answers would go into a file of another name; the second's are cut."""
    report = asked(tmp_path, wanted(8))
    files = {f.name: f.read_bytes() for f in tmp_path.iterdir()}
    loaded = catalogue.load("reasoning", Sources(None))
    changed = replace(loaded, task=replace(loaded.task, version=99))
    monkeypatch.setattr(catalogue, "load", lambda *_, **__: changed)
    last = tmp_path / report.answers[-1].file
    last.write_bytes(b"".join(files[last.name].splitlines(keepends=True)[:4]))
    with pytest.raises(EvaluationError, match="holds 4 of the answers"):
        rescore(tmp_path, Wanted())
    last.write_bytes(files[last.name])
    assert {f.name: f.read_bytes() for f in tmp_path.iterdir()} == files
    assert rescore(tmp_path, Wanted()).models[0].tasks[0].version == 99


def test_fewer_draws_of_more_questions_can_be_scored_again(tmp_path: Path) -> None:
    """Four questions have two draws each in the file, the other four have one."""
    report = asked(
        tmp_path, wanted(4, draws=2, temperature=0.6), wanted(8, draws=1, temperature=0.6)
    )
    assert {(task.n, task.draws) for model in report.models for task in model.tasks} == {(8, 1)}
    assert rescore(tmp_path, Wanted()) == report


def test_answers_that_were_not_scored_are_scored_again_for_a_later_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under the new version they are all of the new version."""
    from weightlens.evaluate import catalogue
    from weightlens.evaluate.task import Verdict

    asked(tmp_path, wanted(8), wanted(2))
    plain = catalogue.load

    def lenient(*args: object, **kwargs: object) -> catalogue.Loaded:
        loaded = plain(*args, **kwargs)
        task = replace(loaded.task, version=2, score=lambda question, answer: Verdict(0.5))
        return replace(loaded, task=task)

    monkeypatch.setattr(catalogue, "load", lenient)
    rescore(tmp_path, Wanted())
    (base, _) = asked(tmp_path, wanted(8)).models
    assert (base.tasks[0].value, base.tasks[0].n) == (0.5, 8)


def test_a_larger_run_that_was_cut_off_does_not_change_the_report_before(tmp_path: Path) -> None:
    report = asked(tmp_path, wanted(3))

    def stop(model: str, task: str, done: int, total: int) -> None:
        if done >= 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate_models([BASE], wanted=wanted(12), settings=SMALL, out=tmp_path, progress=stop)
    assert rescore(tmp_path, Wanted()) == report


def test_a_judge_is_asked_about_what_was_scored(tmp_path: Path, guard: str) -> None:
    out = tmp_path / "out"
    report = asked(out, REFUSALS, replace(REFUSALS, changes=Changes(limit=2)))
    told = set[int]()
    found = judge_run(report, out, guard, progress=lambda judge, task, done, n: told.add(n))
    assert [task.n for task in found.models[0].tasks] == [2, 2] and told == {2}


def test_judgements_of_an_earlier_larger_run_stay_and_are_not_counted(
    tmp_path: Path, guard: str
) -> None:
    out = tmp_path / "out"
    judge_run(asked(out, REFUSALS), out, guard)
    (kept, _) = sorted(out.glob("*.guard.jsonl"))
    text = kept.read_text()
    report = asked(out, replace(REFUSALS, changes=Changes(limit=2)))
    found = judge_run(report, out, guard)
    assert [task.n for task in found.models[0].tasks] == [2, 2] and kept.read_text() == text


def test_pages_show_and_count_what_was_scored(tmp_path: Path) -> None:
    report = asked(tmp_path, wanted(12), wanted(5))
    scored = {question.id for question in REASONING.questions("test", 5)}
    for file in answer_files(report, tmp_path):
        draws = [*file.draws()]
        assert len(draws) == 5 and {draw.question for draw in draws} == scored
    kinds = degeneration_kinds(report, tmp_path)
    for model in report.models:
        (task,) = model.tasks
        assert sum(kinds[model.model, task.task, ""].values()) == task.degenerate


def test_reports_name_questions_where_the_task_has_more(tmp_path: Path) -> None:
    task = write_task(tmp_path / "own")
    some, whole = (
        evaluate_models(
            [BASE], wanted=Wanted(tasks=(str(task),), changes=Changes(limit=limit)),
            settings=SMALL, out=tmp_path / str(limit),
        ).answers[0]
        for limit in (2, 3)
    )  # fmt: skip
    assert (some.questions, some.draws) == (("sums/0", "sums/1"), 1)
    assert (whole.questions, whole.draws) == (None, 1)


def test_a_report_of_before_is_read_and_takes_all_that_a_file_holds(tmp_path: Path) -> None:
    report = asked(tmp_path, wanted(6), wanted(4))
    new = {"answers": {"__all__": {"questions", "draws"}}}
    (tmp_path / "eval.json").write_text(report.model_dump_json(by_alias=True, exclude=new))
    again = rescore(tmp_path, Wanted())
    assert {task.n for model in again.models for task in model.tasks} == {6}
    assert {(entry.questions, entry.draws) for entry in again.answers} == {(None, None)}


def test_a_file_that_lacks_what_was_scored_is_not_scored_again(tmp_path: Path) -> None:
    report = asked(tmp_path, wanted(8))
    file = tmp_path / report.answers[0].file
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:4]))
    with pytest.raises(EvaluationError, match=r"holds 4 of the answers .* at least 8;"):
        rescore(tmp_path, Wanted())


def test_a_report_cannot_have_a_file_outside_of_its_folder_judged_or_replaced(
    tmp_path: Path, guard: str
) -> None:
    out = tmp_path / "out"
    report = asked(out, REFUSALS)
    (out / report.answers[0].file).rename(tmp_path / "moved.jsonl")
    entry = report.answers[0].model_copy(update={"file": "../moved.jsonl"})
    moved = report.model_copy(update={"answers": [entry, *report.answers[1:]]})
    (out / "eval.json").write_text(moved.to_json())
    with pytest.raises(EvaluationError, match="outside"):
        judge_run(moved, out, guard)
    with pytest.raises(EvaluationError, match="outside"):
        rescore(out, Wanted())


def test_a_draw_that_a_file_holds_twice_is_an_error(tmp_path: Path) -> None:
    report = asked(tmp_path, wanted(4))
    file = tmp_path / report.answers[0].file
    file.write_text(file.read_text() * 2)
    with pytest.raises(EvaluationError, match=r"\.jsonl: holds .*, draw 0, twice"):
        [*kept_draws(file, report.answers[0])]
