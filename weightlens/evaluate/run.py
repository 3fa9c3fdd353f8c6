"""Asks models, scores what they say, and compares each with the first."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from weightlens.checkpoint.companions import content_hash
from weightlens.errors import EvaluationError, OutputError
from weightlens.evaluate.builtin import SUITE
from weightlens.evaluate.generate import Answer, Chat, load_chat
from weightlens.evaluate.result import Draw, EvalReport, ModelResult, PairResult, TaskResult
from weightlens.evaluate.statistics import estimate, paired
from weightlens.evaluate.task import Question, Split, Task
from weightlens.hub import resolve
from weightlens.version import VERSION

SUITES: dict[str, tuple[Task, ...]] = {"builtin": SUITE}

Progress = Callable[[str, str, int, int], None]
"""Told the model, the task, the questions answered and their total."""


@dataclass(frozen=True)
class Settings:
    """How to ask.

    split: which questions; limit: at most so many of each task; batch_size: prompts at a time.
    """

    split: Split = "test"
    limit: int | None = None
    batch_size: int = 64
    device: str | None = None


@dataclass(frozen=True)
class Scored:
    """A model's draws on a task, in the order of the questions."""

    task: Task
    draws: tuple[Draw, ...]

    @property
    def verdicts(self) -> list[float]:
        """The value of every draw."""
        return [draw.verdict for draw in self.draws]

    def result(self) -> TaskResult:
        """Value and interval. Raises ValueError where there is no draw."""
        n = len(self.draws)
        return task_result(
            self.task,
            self.verdicts,
            truncated=sum(d.finish == "length" for d in self.draws) / n,
            degenerate=sum(d.degenerate for d in self.draws) / n,
        )


def task_result(
    task: Task,
    verdicts: Sequence[float],
    *,
    draws: int = 1,
    truncated: float | None = None,
    degenerate: float | None = None,
) -> TaskResult:
    """The result of a task from its verdicts, one a question (a mean over draws)."""
    found = estimate(verdicts)
    return TaskResult(
        task=task.name,
        version=task.version,
        metric=task.metric,
        value=found.value,
        stderr=found.stderr,
        ci95=found.ci95,
        n=len(verdicts),
        draws=draws,
        truncated=truncated,
        degenerate=degenerate,
    )


def ask(
    chat: Chat,
    task: Task,
    settings: Settings,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Scored:
    """One model on one task, greedily."""
    questions = task.questions(settings.split, settings.limit)
    answers = chat.answer(
        [q.prompt for q in questions],
        max_new_tokens=task.max_new_tokens,
        batch_size=settings.batch_size,
        progress=progress,
    )
    return Scored(task, tuple(_draw(task, q, a) for q, a in zip(questions, answers, strict=True)))


def _draw(task: Task, question: Question, answer: Answer) -> Draw:
    return Draw(
        question=question.id,
        draw=0,
        prompt=question.prompt,
        raw=answer.raw,
        answer=answer.text,
        finish="length" if answer.truncated else "stop",
        tokens=answer.tokens,
        seed=None,
        degenerate=is_degenerate(answer),
        verdict=task.verdict(question, answer.text),
    )


def is_degenerate(answer: Answer) -> bool:
    """Whether an answer is no answer: empty, or cut off while repeating itself.

    Repeating: the last part of the raw answer is one period of at most 40 characters, four times.
    """
    if not answer.text:
        return True
    if not answer.truncated:
        return False
    raw = answer.raw
    return any(raw.endswith(raw[-period:] * 4) for period in range(1, min(40, len(raw) // 4) + 1))


def evaluate_models(
    models: Sequence[str],
    *,
    suite: str = "builtin",
    settings: Settings = Settings(),
    out: Path | None = None,
    progress: Progress = lambda model, task, done, total: None,
) -> EvalReport:
    """Evaluates models one after the other and compares each with the first.

    models: folders, Hub ids or BASE+ADAPTER…. out: a folder for one JSONL per model and task.
    Raises EvaluationError for a model that cannot be asked or an unknown suite.
    """
    if suite not in SUITES:
        raise EvaluationError(f"no suite {suite!r}; there is {', '.join(SUITES)}")
    if len(set(models)) != len(models):
        raise EvaluationError("a model is named twice")
    located = [resolve(name) for name in models]
    scored: dict[str, list[Scored]] = {}
    if out is not None:
        _make_folder(out)
    for number, at in enumerate(located):
        chat = load_chat(at.path, adapters=at.adapters, label=at.label, device=settings.device)
        scored[at.label] = [
            ask(chat, task, settings, partial(progress, at.label, task.name))
            for task in SUITES[suite]
        ]
        if out is not None:
            _write_draws(out, f"{number}-{at.path.name}", scored[at.label])
    return EvalReport(
        weightlens=VERSION,
        suite=suite,
        settings={
            "split": settings.split,
            "limit": settings.limit,
            "batch_size": settings.batch_size,
            "decoding": "greedy",
        },
        models=[
            ModelResult(
                model=at.label,
                hash="+".join(content_hash(folder) for folder in at.folders),
                tasks=[s.result() for s in scored[at.label]],
            )
            for at in located
        ],
        pairs=list(compare_with_first(scored)),
    )


def compare_with_first(scored: dict[str, list[Scored]]) -> Iterator[PairResult]:
    """Every model but the first, minus the first, task by task."""
    (first, reference), *others = scored.items()
    for name, results in others:
        for a, b in zip(reference, results, strict=True):
            found = paired(a.verdicts, b.verdicts)
            yield PairResult(
                a=first,
                b=name,
                task=a.task.name,
                difference=found.value,
                ci95=found.ci95,
                p=found.p,
                detectable=found.detectable,
                a_only=found.a_only,
                b_only=found.b_only,
            )


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{out}: cannot be made a folder ({error.strerror})") from error


def _write_draws(out: Path, stem: str, results: Sequence[Scored]) -> None:
    for result in results:
        lines = "".join(draw.model_dump_json() + "\n" for draw in result.draws)
        (out / f"{stem}.{result.task.name}.jsonl").write_text(lines, encoding="utf-8")
