"""Answers known to be right score 100 %, in the words that data sets and models use for them."""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from own_tasks import public_data

from weightlens.evaluate import catalogue
from weightlens.evaluate.data import Sources
from weightlens.evaluate.extraction import choices_of
from weightlens.evaluate.scorers.formula import EQUIVALENCE
from weightlens.evaluate.task import Question, Task

Measured = Callable[[str], None]


def rows(file: str) -> list[dict[str, Any]]:
    """The rows of a file of JSON lines."""
    path: Path = public_data() / file
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@cache
def task_of(name: str) -> Task:
    """A task on the public data of this machine."""
    return catalogue.load(name, Sources(public_data(), offline=True)).task


def missed(name: str, replies: Callable[[list[Question]], list[str]]) -> list[tuple[str, str]]:
    """Ids and outcomes of the questions whose reply is not right."""
    task = task_of(name)
    questions = task.questions("test", None)
    verdicts = [
        (question.id, task.score(question, reply))
        for question, reply in zip(questions, replies(questions), strict=True)
    ]
    return [(id_, verdict.outcome) for id_, verdict in verdicts if verdict.value != 1]


def test_gsm8ks_own_solutions_are_right(measured: Measured) -> None:
    solutions = [row["answer"] for row in rows("gsm8k/test.jsonl")]
    wrong = missed("gsm8k", lambda questions: solutions)
    measured(f"GSM8K: {1319 - len(wrong)} of 1319 gold solutions are right")
    assert not wrong


@pytest.mark.parametrize(
    "reply",
    ["The answer is {}.", "**Answer:** ${}", "So she has {} of them.", "$$\\boxed{{{}}}$$"],
)
def test_gsm8ks_answers_are_right_in_other_words(reply: str) -> None:
    wrong = missed("gsm8k", lambda qs: [f"2 + 2 = 4\n{reply.format(q.reference)}" for q in qs])
    assert not wrong


def test_math500s_own_solutions_are_right(measured: Measured) -> None:
    solutions = [row["solution"] for row in rows("math500/test.jsonl")]
    wrong = missed("math500", lambda questions: solutions)
    measured(f"MATH-500: {500 - len(wrong)} of 500 gold solutions are right")
    assert not wrong


def test_math500s_answers_are_equivalent_to_themselves(measured: Measured) -> None:
    """By math-verify, which the comparison of texts spares where they are the same."""
    answers = [row["answer"] for row in rows("math500/test.jsonl")]
    boxed = [a for a in answers if EQUIVALENCE.judge(a, a)[0] != "right"]
    prose = [a for a in answers if EQUIVALENCE.judge(a, f"So it is ${a}$.", "prose")[0] != "right"]
    measured(f"MATH-500 by math-verify: {500 - len(boxed)} of 500, {500 - len(prose)} in prose")
    assert not boxed and not prose


def test_math500s_answers_are_not_those_of_the_next_question(measured: Measured) -> None:
    answers = [row["answer"] for row in rows("math500/test.jsonl")]
    following = [*answers[1:], answers[0]]
    taken = [
        (gold, other)
        for gold, other in zip(answers, following, strict=True)
        if EQUIVALENCE.judge(gold, other)[0] == "right" and gold != other
    ]
    measured(f"MATH-500: the next question's answer is taken for right in {len(taken)} of 500")
    assert taken == [("5", "x=5")]


def test_aimes_solutions_and_answers_are_right() -> None:
    table = rows("aime24/test.jsonl")
    assert not missed("aime24", lambda questions: [row["solution"] for row in table])
    assert not missed("aime24", lambda qs: [f"\\boxed{{{int(q.reference)}}}" for q in qs])


@pytest.mark.parametrize(
    ("name", "reply"),
    [
        ("mmlu_stem", "Answer: {label}"),
        ("arc_challenge", "Answer: {label}"),
        ("arc_challenge", "**Answer:** ({label}) {text}"),
        ("arc_challenge", "The correct answer is {label}. {text}"),
        ("arc_challenge", "{label}) {text}"),
        ("arc_challenge", "$\\boxed{{\\text{{{label}}}}}$"),
    ],
)
def test_the_right_label_is_right(name: str, reply: str) -> None:
    def said(question: Question) -> str:
        return reply.format(label=question.reference, text=choices_of(question)[question.reference])

    assert not missed(name, lambda questions: [said(question) for question in questions])


def test_a_wrong_label_is_wrong() -> None:
    def said(question: Question) -> str:
        labels = list(choices_of(question))
        other = labels[labels.index(question.reference) - 1]
        return f"It is not {question.reference}.\n\nAnswer: {other}"

    task = task_of("arc_challenge")
    verdicts = [task.score(q, said(q)) for q in task.questions("test", None)]
    assert {verdict.outcome for verdict in verdicts} == {"wrong"}
