"""Every task there is, by name, and the suites made of them.

The tasks on public data are YAML files in `tasks/`; a user's own is one more, wherever it lies. The
tasks of the `builtin` suite are made by `weightlens.evaluate.builtin`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, partial
from hashlib import sha256
from pathlib import Path
from typing import Literal

from weightlens.errors import EvaluationError
from weightlens.evaluate.data import Found, Sources
from weightlens.evaluate.data.questions import questions_of
from weightlens.evaluate.extraction.numerals import exact
from weightlens.evaluate.scorers import (
    choice_scorer,
    exact_scorer,
    formula_scorer,
    number_scorer,
)
from weightlens.evaluate.suites import SuiteEntry, parse_suites
from weightlens.evaluate.task import Question, Sampling, Scorer, Split, Task
from weightlens.evaluate.taskfile import TaskFile, read
from weightlens.evaluate.written import Written, nearest

RunCode = Mapping[Literal["humaneval", "mbpp"], Scorer]
"""The scorers that run programs which a model wrote."""

_RUN_CODE = ("humaneval", "mbpp")
_FOLDER = Path(__file__).with_name("tasks")
_SUITES = "suites.yaml"

_GENERATED = {
    "reasoning": "Sums of several steps and small programs on digits and letters",
    "refusal": "Harmful requests of one line, told from harmless ones by their noun",
    "over_refusal": "Harmless requests in the same words as the harmful ones",
}
"""The tasks that weightlens makes itself."""


@dataclass(frozen=True)
class Loaded:
    """A task with where it comes from.

    data_hash, file_hash: of the data's bytes and of the task file's text, sha256: and the digest;
    None for a task that weightlens makes itself. With name and version they say which task it was.
    source: the data's file or its place on the Hub. count: of its questions. lower_is_better:
    groups in which a high value is bad although it is good in the others. notes: what a reader of
    the results should know, such as questions that the data lacks. runs_code: answers are programs.
    """

    task: Task
    data_hash: str | None
    file_hash: str | None
    licence: str
    source: str
    count: int | None
    lower_is_better: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()
    runs_code: bool = False


@dataclass(frozen=True)
class Listing:
    """A line of the catalogue. questions: how many, None where there is no end of them. needs: what
    the user must give besides data, in words."""

    name: str
    about: str
    questions: int | None
    metric: str
    licence: str
    data: str
    needs: tuple[str, ...] = ()


def names() -> tuple[str, ...]:
    """Every task of the catalogue, weightlens's own first."""
    return (*_GENERATED, *_files())


def describe() -> tuple[Listing, ...]:
    """Every task of the catalogue, without looking at its data."""
    own = (
        Listing(name, about, None, _generated_metric(name), "Apache-2.0", "made by weightlens")
        for name, about in _GENERATED.items()
    )
    return (*own, *(_listing(read(path)[0]) for path in _files().values()))


def hub_data(name: str) -> str | None:
    """The data set on the Hub that a task's questions are; None where the Hub has none, and for a
    task that is not in the catalogue."""
    file = _files().get(name)
    found = read(file)[0].data if file is not None else ()
    return next((source.repo for source in found if source.repo is not None), None)


def suites() -> dict[str, tuple[SuiteEntry, ...]]:
    """The tasks of every suite, with what each suite changes of them."""
    return parse_suites(_FOLDER / _SUITES, names())


def suite(name: str) -> tuple[SuiteEntry, ...]:
    """One suite. Raises EvaluationError for an unknown one."""
    known = suites()
    if name not in known:
        raise EvaluationError(
            f"no suite {name!r}{nearest(name, list(known))}; there is {', '.join(known)}"
        )
    return known[name]


def load(
    name_or_path: str | Path,
    sources: Sources,
    *,
    run_code: RunCode | None = None,
    refusal: Scorer | None = None,
) -> Loaded:
    """A task of the catalogue by its name, or a user's own by the path of its .yaml file.

    run_code: scorers that run programs, for the tasks that need one. refusal: in the place of
    `safety.refusal.refusal_scorer`. Raises EvaluationError for an unknown name, a faulty file, data
    that is not there or damaged, and a task that runs programs where run_code is None.
    """
    name = str(name_or_path)
    if name in _GENERATED:
        return _generated(name)
    if name.endswith((".yaml", ".yml")):
        path = Path(name)
        file, written = read(path)
        score = _scorer(file, run_code, refusal)
        return _loaded(file, written, sources.find(file, path.parent), score)
    if name not in _files():
        raise EvaluationError(
            f"no task {name!r}{nearest(name, names())}; there is {', '.join(names())}, and a task "
            "of your own is the path of a .yaml file"
        )
    file, written = read(_files()[name])
    score = _scorer(file, run_code, refusal)  # before the data: what is not allowed needs none
    return _loaded(file, written, sources.find(file), score)


def _loaded(file: TaskFile, written: Written, found: Found, score: Scorer) -> Loaded:
    questions = questions_of(file, written, found)
    if file.scorer == "number":
        _check_numbers(questions, written)
    short = file.questions is not None and len(questions) != file.questions
    note = f"{found.place} holds {len(questions)} of {file.questions} questions"
    task = Task(
        name=file.name,
        version=file.version,
        metric=file.metric,
        questions=partial(_first, file.name, questions),
        score=score,
        sampling=Sampling(
            file.sampling.max_new_tokens, file.sampling.temperature, file.sampling.top_p
        ),
        draws=file.draws,
        higher_is_better=file.higher_is_better,
        private=file.private,
    )
    return Loaded(
        task,
        data_hash=found.hash,
        file_hash=f"sha256:{sha256(written.text.encode()).hexdigest()}",
        licence=file.licence,
        source=found.place,
        count=len(questions),
        lower_is_better=frozenset(file.lower_is_better_groups),
        notes=(note,) if short else (),
        runs_code=file.scorer in _RUN_CODE,
    )


def _first(
    name: str, questions: tuple[Question, ...], split: Split, limit: int | None
) -> list[Question]:
    if split != "test":
        raise EvaluationError(f"{name}: has no {split} questions, only test")
    return list(questions[:limit])


def _scorer(file: TaskFile, run_code: RunCode | None, refusal: Scorer | None) -> Scorer:
    match file.scorer:
        case "humaneval" | "mbpp":
            if run_code is None:
                raise EvaluationError(
                    f"{file.name}: runs programs that the model wrote; allow it with --run-code"
                )
            return run_code[file.scorer]
        case "refusal":
            if refusal is None:
                from weightlens.evaluate.safety.refusal import refusal_scorer

                return refusal_scorer
            return refusal
        case "number":
            return number_scorer(file.extract)
        case "exact":
            return exact_scorer(file.extract)
        case "math":
            return formula_scorer(file.extract)
        case "choice":
            return choice_scorer(file.extract)


def _check_numbers(questions: tuple[Question, ...], written: Written) -> None:
    for question in questions:
        if exact(question.reference) is None:
            raise written.error(
                ("reference",), f"{question.id}: {question.reference!r} is no number"
            )


def _generated(name: str) -> Loaded:
    from weightlens.evaluate.builtin import SUITE

    task = next(task for task in SUITE if task.name == name)
    return Loaded(task, None, None, "Apache-2.0", "made by weightlens", None)


def _generated_metric(name: str) -> str:
    return "accuracy" if name == "reasoning" else "refusal_rate"


@cache
def _files() -> dict[str, Path]:
    """The task files by name, in the order of the alphabet."""
    return {p.stem: p for p in sorted(_FOLDER.glob("*.yaml")) if p.name != _SUITES}


def _listing(file: TaskFile) -> Listing:
    places = [*file.files, *(f"{s.repo} on the Hub" for s in file.data if s.repo is not None)]
    needs = []
    if file.scorer in _RUN_CODE:
        needs.append("--run-code")
    if any(source.gated for source in file.data):
        needs.append("terms accepted on the Hub, or a local file")
    if all(source.repo is None for source in file.data):
        needs.append("--data DIR")
    return Listing(
        file.name,
        file.about,
        file.questions,
        file.metric,
        file.licence,
        " or ".join(places),
        tuple(needs),
    )
