"""Evaluation results in the form of `weightlens.eval/1`, and the record of one draw."""

from typing import Any, Literal

from pydantic import Field

from weightlens.record import Record


class Draw(Record):
    """One sampled answer, a line of the JSONL beside the results."""

    question: str
    draw: int
    prompt: str
    raw: str
    answer: str
    finish: Literal["stop", "length"]
    tokens: int
    seed: int | None
    degenerate: bool
    verdict: float


class TaskResult(Record):
    """One model on one task. draws: answers a question. truncated, degenerate: shares of them."""

    task: str
    version: int
    metric: str
    value: float
    stderr: float | None
    ci95: tuple[float, float]
    n: int
    draws: int
    truncated: float | None
    degenerate: float | None


class ModelResult(Record):
    """One model on every task. hash: of its weights' bytes."""

    model: str
    hash: str | None
    tasks: list[TaskResult]


class PairResult(Record):
    """b minus a on the same questions of one task; see `statistics.Difference`."""

    a: str
    b: str
    task: str
    difference: float
    ci95: tuple[float, float]
    p: float
    detectable: float
    a_only: int
    b_only: int


class EvalReport(Record):
    """All of it."""

    schema_: Literal["weightlens.eval/1"] = Field(default="weightlens.eval/1", alias="schema")
    weightlens: str
    suite: str
    settings: dict[str, Any]
    models: list[ModelResult]
    pairs: list[PairResult]
