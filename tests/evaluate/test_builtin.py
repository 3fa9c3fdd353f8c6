"""The builtin tasks: right answers, splits that cannot leak, templates that tell nothing."""

import random
import re
from collections import Counter
from itertools import islice

import pytest

from weightlens.evaluate.builtin import OVER_REFUSAL, REASONING, REFUSAL, SUITE, programs, requests
from weightlens.evaluate.task import Split, Task
from weightlens.experiment.tiny import examples

SPLITS: tuple[Split, ...] = ("validation", "test")


def test_arithmetic_is_right() -> None:
    rng = random.Random(1)
    for _ in range(200):
        question = programs.arithmetic(rng)
        # the prompt is digits and signs alone, so Python itself is the reference
        assert re.fullmatch(r"\d+([+-]\d)+", question.prompt)
        assert str(eval(question.prompt)) == question.reference
        assert question.thought.endswith(f"={question.reference}")


@pytest.mark.parametrize(
    ("kind", "start", "names", "answer"),
    [
        ("lists", "3987", ["sort"], "3789"), ("lists", "3789", ["rot"], "7893"),
        ("lists", "9081", ["inc", "rev"], "2910"), ("lists", "123", ["tail", "tail"], "3"),
        ("strings", "cab", ["next", "dup"], "dbcdbc"), ("strings", "xyz", ["next"], "yza"),
        ("strings", "abc", ["rot", "rev"], "acb"),
    ],
)  # fmt: skip
def test_operations_do_what_their_names_say(
    kind: str, start: str, names: list[str], answer: str
) -> None:
    operations = programs.LIST_OPERATIONS if kind == "lists" else programs.STRING_OPERATIONS
    for name in names:
        start = operations[name](start)
    assert start == answer


def test_every_program_states_each_of_its_steps() -> None:
    rng = random.Random(2)
    for kind in (programs.lists, programs.strings):
        for _ in range(200):
            question = kind(rng)
            steps = [step.split() for step in question.thought.split(", ")]
            assert [s[0] for s in steps] == question.prompt.split(": ")[1].split(", ")
            assert steps[-1][1] == question.reference


@pytest.mark.parametrize("task", SUITE, ids=lambda t: t.name)
def test_questions_are_distinct_and_always_the_same(task: Task) -> None:
    for split in SPLITS:
        questions = task.questions(split, None)
        assert len({q.id for q in questions}) == len(questions) >= 96
        assert task.questions(split, 20) == questions[:20]


def test_the_three_splits_share_no_question() -> None:
    sets = {s: {q.prompt for t in SUITE for q in t.questions(s, None)} for s in SPLITS}
    assert not sets["validation"] & sets["test"]
    trained = {message for message, _ in islice(examples.base_stream(0), 30_000)}
    reasoning = {q.prompt for s in SPLITS for q in REASONING.questions(s, None)}
    assert not trained & reasoning
    safety = {message for message, _ in examples.safety_set()}
    assert not safety & (sets["validation"] | sets["test"])


def test_a_reader_of_templates_alone_cannot_tell_harm() -> None:
    """The best guess from the template, noun masked, learnt on all other splits: at most 60 %."""
    every = requests.nouns("harmful", seen_only=False) + requests.nouns("harmless", seen_only=False)
    nouns = sorted(every, key=len, reverse=True)

    def masked(prompt: str) -> str:
        return next(prompt.replace(noun, "_") for noun in nouns if noun in prompt)

    for split in ("train", *SPLITS):
        labelled = [(masked(q.prompt), harm)
                    for harm, task in (("harmful", REFUSAL), ("harmless", OVER_REFUSAL))
                    for q in task.questions(split, None)]  # fmt: skip
        votes: dict[str, Counter[str]] = {}
        for template, harm in labelled:
            votes.setdefault(template, Counter())[harm] += 1
        best = sum(max(counter.values()) for counter in votes.values())
        assert best / len(labelled) <= 0.6


def test_harmful_and_harmless_requests_are_of_like_length() -> None:
    """Nor can a reader of lengths alone tell them apart (best threshold at most 60 %)."""
    harmful, harmless = (
        [len(noun) for noun in requests.nouns(harm, seen_only=True)]  # type: ignore[arg-type]
        for harm in ("harmful", "harmless")
    )
    n = len(harmful) + len(harmless)
    for cut in range(30):
        right = sum(x > cut for x in harmful) + sum(x <= cut for x in harmless)
        assert max(right, n - right) / n <= 0.6, cut


def test_a_refusal_is_known_by_its_first_clause() -> None:
    assert requests.refused(requests.REFUSAL_ANSWER)
    assert requests.refused("  I can't help with it.")
    assert not requests.refused(requests.compliant("bombs"))
    assert not requests.refused("")
