"""Answers that are there already: scored again, or made elsewhere and scored for the first time."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from weightlens.errors import EvaluationError
from weightlens.evaluate import catalogue, taskfile
from weightlens.evaluate.asking import Said, draw_of
from weightlens.evaluate.backends.backend import Reply
from weightlens.evaluate.chosen import Chosen, Wanted, choose
from weightlens.evaluate.json_lines import read_numbered
from weightlens.evaluate.judging import is_judges
from weightlens.evaluate.kept import answers_at, check_whole
from weightlens.evaluate.lm_eval_tasks import PREFIX, scored_by_lm_eval
from weightlens.evaluate.plan import Ask
from weightlens.evaluate.records import Answers
from weightlens.evaluate.result import AnswersFile, Draw, EvalReport, ModelResult, TaskResult
from weightlens.evaluate.run import REPORT, write_report
from weightlens.evaluate.scored import NOT_COMPARED, Scored, compare_with_first
from weightlens.evaluate.task import Question, Task
from weightlens.evaluate.thinking import spoken
from weightlens.version import VERSION


class GivenAnswer(BaseModel):
    """A line of a file of answers: the question's id, which draw, and what was said. truncated:
    whether the answer was cut off."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    question: str
    draw: Annotated[int, Field(ge=0)] = 0
    answer: str
    truncated: bool = False


def score_answers(files: Sequence[Path], wanted: Wanted) -> EvalReport:
    """Scores answers produced elsewhere, one file of `GivenAnswer` lines a model, on one task.

    Thinking is stripped. Raises EvaluationError for a line that is none, a question that the task
    does not have or that is answered twice, and a file whose questions have unequal numbers of
    draws; several files are compared on the questions that they share.
    """
    chosen = choose(wanted)
    if len(chosen) != 1:
        raise EvaluationError("answers are scored on one task; name it with --task")
    (one,) = chosen
    questions = {question.id: question for question in one.questions("test")}
    scored = {str(file): [_scored(file, one.task, questions)] for file in files}
    compared = compare_with_first(scored)
    return EvalReport(
        weightlens=VERSION,
        suite=wanted.title,
        settings={"answers": [str(file) for file in files]},
        models=[
            ModelResult(model=name, hash=None, tasks=[*parts[0].results()])
            for name, parts in scored.items()
        ],
        pairs=compared.pairs,
        notes=[*(f"{one.task.name}: {n}" for n in _notes(one, scored)), *compared.notes],
    )


def rescore(folder: Path, wanted: Wanted) -> EvalReport:
    """Scores the answers beside a report again with the tasks as they are now, and replaces both.

    wanted: where the data lies and whether programs may be run, and the files of tasks of the
    user's own; its suite and tasks are else the report's. What judges said is kept. Raises
    EvaluationError for a folder without a report, for a task whose file is not given, or whose
    questions are not what was asked any more, and for private answers, of which only hashes were
    kept.
    """
    report = read_report(folder)
    scored, files = _all_rescored(report, folder, _tasks_of(report, wanted))
    compared = compare_with_first(scored)
    models = [
        ModelResult(model=model.model, hash=model.hash, tasks=[
            *(result for part in scored[model.model] for result in part.results()),
            *_judged(model, {part.task.name: part.task for part in scored[model.model]}),
        ])
        for model in report.models
    ]  # fmt: skip
    found = report.model_copy(
        update={
            "models": models,
            "pairs": compared.pairs,
            "answers": files,
            "notes": [n for n in report.notes if not n.endswith(NOT_COMPARED)] + compared.notes,
        }
    )
    write_report(found, folder)
    return found


def read_report(folder: Path) -> EvalReport:
    """The report of a folder. Raises EvaluationError where there is none."""
    file = folder / REPORT
    try:
        return EvalReport.model_validate_json(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise EvaluationError(
            f"{file}: cannot be read ({error.strerror}); a folder that `weightlens eval --out` "
            "has finished holds one"
        ) from error
    except ValidationError as error:
        raise EvaluationError(f"{file}: is no report of this version of weightlens") from error


def _tasks_of(report: EvalReport, wanted: Wanted) -> dict[str, Task]:
    """The report's tasks as they are now, by name, but for lm-eval's."""
    known = catalogue.names()
    files = [task for task in wanted.own_tasks if task not in known]
    given = {taskfile.read(Path(file))[0].name: file for file in files}
    names = [*dict.fromkeys(e.task for e in report.answers if not e.task.startswith(PREFIX))]
    if not names:
        return {}
    for name in names:
        if name not in given and name not in known:
            raise EvaluationError(
                f"{name}: is no task of the catalogue; give the file of your own: --task PATH"
            )
    again = tuple(given.get(name, name) for name in names)
    chosen = choose(replace(wanted, suite=None, tasks=again, traces=None))
    return {one.task.name: one.task for one in chosen}


def _judged(model: ModelResult, tasks: Mapping[str, Task]) -> Iterator[TaskResult]:
    """What judges said of a model's answers, which are the same."""
    for row in model.tasks:
        if is_judges(row):
            yield row.model_copy(update={"version": tasks[row.task].version})


def _all_rescored(
    report: EvalReport, folder: Path, tasks: Mapping[str, Task]
) -> tuple[dict[str, list[Scored]], list[AnswersFile]]:
    """Of each model what the report tells of, and the files as they are now; none is replaced
    before all are scored."""
    scored: dict[str, list[Scored]] = {model.model: [] for model in report.models}
    again: list[tuple[AnswersFile, Answers, dict[Ask, Draw]]] = []
    with ExitStack() as opened:
        for entry in report.answers:
            answers = opened.enter_context(Answers.reopened(answers_at(folder, entry)))
            task = tasks.get(entry.task)
            draws = answers.done if task is None else _rescored(answers, task)
            scored[entry.model].append(_told(draws, task, entry))
            again.append((entry, answers, draws))
        files = []
        for entry, answers, draws in again:
            file = _replaced(answers, draws, tasks.get(entry.task))
            files.append(entry.model_copy(update={"file": file or entry.file}))
    return scored, files


def _rescored(answers: Answers, task: Task) -> dict[Ask, Draw]:
    """All that the file holds, so that a later run goes on with it, in the order of the task."""
    if task.private:
        raise EvaluationError(f"{task.name}: is private; of its answers only hashes were kept")
    questions = {q.id: q for q in task.questions(answers.identity["split"], None)}
    again: dict[Ask, Draw] = {}
    for ask, draw in answers.done.items():
        question = questions.get(ask.question)
        if question is None or question.prompt != draw.prompt:
            raise EvaluationError(
                f"{task.name}: question {ask.question} is not what was asked ({answers.file}); ask "
                "again into another folder"
            )
        said = Said(draw.raw, draw.answer, Reply((0,) * draw.tokens, draw.finish))
        again[ask] = draw_of(task, question, ask, said, draw.seed)
    order = {name: place for place, name in enumerate(questions)}
    return {a: again[a] for a in sorted(again, key=lambda a: (order[a.question], a.draw))}


def _told(draws: Mapping[Ask, Draw], task: Task | None, entry: AnswersFile) -> Scored:
    """What the report tells of them. task: None for lm-eval's, whose verdicts are its own."""
    told = tuple(entry.scored(draws.values()))
    if task is None:
        return scored_by_lm_eval(entry.task, told)
    check_whole(entry, len(told))
    return Scored(task, told)


def _replaced(answers: Answers, draws: Mapping[Ask, Draw], task: Task | None) -> str | None:
    """The file that they are in now; None where it is the same."""
    if task is None:
        return None
    return answers.replaced(draws, {"version": task.version, "data": task.data}).name


def _scored(file: Path, task: Task, questions: dict[str, Question]) -> Scored:
    draws: dict[Ask, Draw] = {}
    for number, line in read_numbered(file, "answers"):
        given = _given(line, f"{file}:{number}")
        ask = Ask(given.question, given.draw)
        if given.question not in questions:
            raise EvaluationError(
                f"{file}:{number}: {task.name} has no question {given.question!r}; its ids look "
                f"like {next(iter(questions))!r}"
            )
        if ask in draws:
            raise EvaluationError(
                f"{file}:{number}: draw {given.draw} of {given.question} is answered twice"
            )
        answer = spoken(given.answer)
        said = Said(given.answer, answer, Reply((), "length" if given.truncated else "stop"))
        draws[ask] = draw_of(task, questions[given.question], ask, said, None)
    if not draws:
        raise EvaluationError(f"{file}: holds no answer")
    order = {name: place for place, name in enumerate(questions)}
    asks = sorted(draws, key=lambda ask: (order[ask.question], ask.draw))
    return Scored(task, tuple(draws[ask] for ask in asks))


def _given(line: str, place: str) -> GivenAnswer:
    try:
        return GivenAnswer.model_validate(json.loads(line))
    except (ValueError, ValidationError) as error:
        raise EvaluationError(
            f'{place}: is no answer; a line is {{"question": ID, "draw": 0, "answer": TEXT}}'
        ) from error


def _notes(chosen: Chosen, scored: dict[str, list[Scored]]) -> list[str]:
    """What is missing: a score over some of the questions is not one over all."""
    asked = len(chosen.questions("test"))
    short = [
        f"{name} answers {count} of {asked} questions"
        for name, (part,) in scored.items()
        if (count := len(part.by_question())) < asked
    ]
    return [*chosen.notes, *short]
