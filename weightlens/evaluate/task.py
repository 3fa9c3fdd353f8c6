"""What the evaluator asks: questions, and what each of the answers to them is worth."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from weightlens.errors import EvaluationError
from weightlens.evaluate.ranges import Count, Temperature, TopP, check

Split = Literal["train", "validation", "test"]


@dataclass(frozen=True)
class Question:
    """One thing asked of a model.

    id: unique within its task and stable between versions.
    prompt: what the user says.
    reference: the right answer, after thinking; empty where there is none.
    thought: a derivation of the reference, for training; never shown to a model under test.
    group: the part of the task that is reported apart, such as safe or unsafe; empty for none.
    fields: what the scorer needs besides, by name (tests, entry point, choices).
    """

    id: str
    prompt: str
    reference: str
    thought: str = ""
    group: str = ""
    fields: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """What one answer is worth.

    value: between 0 and 1. extracted: the part of the answer that was judged, None where the
    answer holds none. outcome: in a few words what happened (refused, timed out, …), for reading;
    what follows a colon may quote the task.
    """

    value: float
    extracted: str | None = None
    outcome: str = ""


Scorer = Callable[[Question, str], Verdict]
"""The verdict on one answer, thinking stripped, to one question."""


@dataclass(frozen=True)
class Sampling:
    """How answers are drawn. Raises EvaluationError for numbers that make no sense.

    max_new_tokens: generation stops there; an answer cut off by it counts as truncated.
    temperature: 0 is greedy. top_p: tokens beyond this share of the probability are never drawn.
    """

    max_new_tokens: Count
    temperature: Temperature = 0.0
    top_p: TopP = 1.0

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class Task:
    """A set of questions with a verdict. Raises EvaluationError for several draws at temperature 0,
    which are one.

    questions: makes the first `limit` questions of a split, always the same ones.
    score: the verdict on an answer. draws: answers asked for each question.
    higher_is_better: False for over-refusal and its like. groups: those that are reported apart in
    place of the whole, and whether higher is better there (XSTest: safe and unsafe).
    private: questions and answers never leave memory; records hold their hashes.
    data: hash of the file that the questions come from; empty where they are made.
    """

    name: str
    version: int
    metric: str
    questions: Callable[[Split, int | None], list[Question]]
    score: Scorer
    sampling: Sampling
    draws: Count = 1
    higher_is_better: bool = True
    groups: Mapping[str, bool] = field(default_factory=dict)
    private: bool = False
    data: str = ""

    def __post_init__(self) -> None:
        check(self)
        if self.draws > 1 and self.sampling.temperature == 0:
            raise EvaluationError(
                f"{self.name}: {self.draws} draws at temperature 0 are one; give a temperature "
                "(--temperature 0.6)"
            )
