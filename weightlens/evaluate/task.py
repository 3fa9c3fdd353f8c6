"""What the evaluator asks: questions, and what each of the answers to them is worth."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Split = Literal["train", "validation", "test"]


@dataclass(frozen=True)
class Question:
    """One thing asked of a model.

    id: unique within its task and stable between versions.
    prompt: what the user says.
    reference: the right answer, after thinking.
    thought: a derivation of the reference, for training; never shown to a model under test.
    """

    id: str
    prompt: str
    reference: str
    thought: str = ""


@dataclass(frozen=True)
class Task:
    """A set of questions with a verdict.

    questions: makes the first `limit` questions of a split, always the same ones.
    verdict: the value of one answer (thinking stripped) to one question, between 0 and 1.
    max_new_tokens: generation stops there; an answer cut off by it counts as truncated.
    higher_is_better: False for over-refusal and its like.
    """

    name: str
    version: int
    metric: str
    questions: Callable[[Split, int | None], list[Question]]
    verdict: Callable[[Question, str], float]
    max_new_tokens: int
    higher_is_better: bool = True
