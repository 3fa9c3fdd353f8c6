"""Evaluation results in the form of `weightlens.eval/1`, and the record of one draw."""

from collections.abc import Iterable, Iterator
from typing import Any, Literal

from pydantic import Field

from weightlens.evaluate.drift.result import Drift
from weightlens.record import Record

Degeneration = Literal["", "empty", "looping", "language"]


class Draw(Record):
    """One sampled answer, a line of the JSONL beside the results.

    draw: which of the question's draws, from 0. seed: None where the answer is greedy. answer: what
    was said without the thinking. extracted: the part of it that was judged. Of a private task all
    texts are hashes, and of an outcome (`failed: reason`) the kind alone stays.
    """

    question: str
    draw: int
    seed: int | None
    group: str
    prompt: str
    raw: str
    answer: str
    reference: str
    extracted: str | None
    outcome: str
    verdict: float
    finish: Literal["stop", "length"]
    tokens: int
    degenerate: Degeneration


class TaskResult(Record):
    """One model on one task, or on a group of it that is reported apart.

    draws: answers a question. truncated, degenerate: shares of the draws. more: further figures by
    name (pass@k, spread by seed).
    """

    task: str
    version: int
    group: str = ""
    metric: str
    value: float
    stderr: float | None
    ci95: tuple[float, float]
    n: int
    draws: int
    truncated: float | None
    degenerate: float | None
    higher_is_better: bool = True
    more: dict[str, float] = Field(default_factory=dict)


class ModelResult(Record):
    """One model on every task. hash: of its weights' bytes."""

    model: str
    hash: str | None
    tasks: list[TaskResult]


class PairResult(Record):
    """b minus a on the same questions of one task; see `statistics.Difference`.

    p_adjusted: p by Holm's method over all pairs of the report. sentence: the same in words.
    """

    a: str
    b: str
    task: str
    group: str = ""
    difference: float
    ci95: tuple[float, float]
    p: float
    p_adjusted: float | None = None
    detectable: float
    a_only: int
    b_only: int
    sentence: str = ""


class AnswersFile(Record):
    """The draws of one model on one task: the name of a file beside the report.

    The file may hold more than was scored, where another run asked more. questions: the ids of
    those that were asked, None for all of the task's. draws: how many of each, None for all that
    the file holds. A report of before this was written down has None for both.
    """

    model: str
    task: str
    file: str
    questions: tuple[str, ...] | None = None
    draws: int | None = None

    def scored(self, draws: Iterable[Draw]) -> Iterator[Draw]:
        """Of the draws in the file those that the report tells of."""
        asked = None if self.questions is None else frozenset(self.questions)
        for draw in draws:
            if (asked is None or draw.question in asked) and (
                self.draws is None or draw.draw < self.draws
            ):
                yield draw


class EvalReport(Record):
    """All of it. answers: in the order of the models. drift: of each from the first, where it was
    asked for. notes: what a reader should know of the tasks and of how programs were run."""

    schema_: Literal["weightlens.eval/1"] = Field(default="weightlens.eval/1", alias="schema")
    weightlens: str
    suite: str
    settings: dict[str, Any]
    models: list[ModelResult]
    pairs: list[PairResult]
    answers: list[AnswersFile] = Field(default_factory=list)
    drift: list[Drift] = Field(default_factory=list)
    notes: list[str] = Field(default_factory=list)
