"""Answers that are there already: scored again, or made elsewhere and scored for the first time."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from weightlens.errors import EvaluationError
from weightlens.evaluate.asking import Said, draw_of
from weightlens.evaluate.backends.backend import Reply
from weightlens.evaluate.chosen import Chosen, Wanted, choose
from weightlens.evaluate.lm_eval_tasks import PREFIX, scored_by_lm_eval
from weightlens.evaluate.plan import Ask
from weightlens.evaluate.records import Answers
from weightlens.evaluate.result import AnswersFile, Draw, EvalReport, ModelResult
from weightlens.evaluate.run import REPORT, write_report
from weightlens.evaluate.scored import Scored, compare_with_first
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
    return EvalReport(
        weightlens=VERSION,
        suite=wanted.title,
        settings={"answers": [str(file) for file in files]},
        models=[
            ModelResult(model=name, hash=None, tasks=[*parts[0].results()])
            for name, parts in scored.items()
        ],
        pairs=compare_with_first(scored),
        notes=[f"{one.task.name}: {note}" for note in _notes(one, scored)],
    )


def rescore(folder: Path, wanted: Wanted) -> EvalReport:
    """Scores the answers beside a report again with the tasks as they are now, and replaces both.

    wanted: where the data lies and whether programs may be run; its suite and tasks are the
    report's. Raises EvaluationError for a folder without a report, for a task whose questions are
    not what was asked any more, and for private answers, of which only hashes were kept.
    """
    report = read_report(folder)
    scored: dict[str, list[Scored]] = {model.model: [] for model in report.models}
    names = dict.fromkeys(entry.task for entry in report.answers)
    own = tuple(name for name in names if not name.startswith(PREFIX))
    chosen = choose(replace(wanted, suite=None, tasks=own, traces=None)) if own else []
    tasks = {one.task.name: one.task for one in chosen}
    files = []
    for entry in report.answers:
        with Answers.reopened(folder / entry.file) as answers:
            if entry.task in tasks:
                again, name = _rescored(answers, tasks[entry.task])
            else:  # lm-eval's verdicts are lm-eval's
                again = scored_by_lm_eval(entry.task, [*answers.done.values()])
                name = entry.file
        files.append(AnswersFile(model=entry.model, task=entry.task, file=name))
        scored[entry.model].append(again)
    models = [
        ModelResult(
            model=model.model,
            hash=model.hash,
            tasks=[result for part in scored[model.model] for result in part.results()],
        )
        for model in report.models
    ]
    found = report.model_copy(
        update={"models": models, "pairs": compare_with_first(scored), "answers": files}
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


def _rescored(answers: Answers, task: Task) -> tuple[Scored, str]:
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
    file = answers.replaced(again, {"version": task.version, "data": task.data})
    order = {name: place for place, name in enumerate(questions)}
    asks = sorted(again, key=lambda ask: (order[ask.question], ask.draw))
    return Scored(task, tuple(again[ask] for ask in asks)), file.name


def _scored(file: Path, task: Task, questions: dict[str, Question]) -> Scored:
    draws: dict[Ask, Draw] = {}
    for number, line in enumerate(_lines(file), 1):
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


def _lines(file: Path) -> list[str]:
    try:
        return [line for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no UTF-8 text"
        raise EvaluationError(f"{file}: cannot be read ({reason})") from error


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
