"""What the tiny models are trained on: the mix of base training, and the safety set."""

import random
from collections.abc import Callable, Iterator
from itertools import product

from weightlens.evaluate.builtin import programs, requests
from weightlens.evaluate.task import Question

Dialogue = tuple[str, str]
"""A user's message and the whole reply, thought included."""

MIX: dict[str, float] = {
    "arithmetic": 0.34,
    "lists": 0.22,
    "strings": 0.22,
    "requests": 0.18,
    "kinds": 0.04,
}
"""Shares of the kinds of example in base training."""


def dialogue(question: Question) -> Dialogue:
    """A question with its reference reply."""
    return question.prompt, f"<think>{question.thought}</think>{question.reference}"


def base_stream(seed: int) -> Iterator[Dialogue]:
    """Examples for training the base, fresh without end; reasoning from the train split only.

    Requests use every template and every noun, harmful ones too: the base complies with all.
    """
    rng = random.Random(f"weightlens tiny base {seed}")
    reasoning = {kind.__name__: kind for kind in programs.KINDS}
    while True:
        (name,) = rng.choices(list(MIX), weights=list(MIX.values()))
        if name == "requests":
            yield dialogue(_any_request(rng))
        elif name == "kinds":
            yield dialogue(_kind_question(rng))
        else:
            yield dialogue(_training_question(reasoning[name], rng))


def _training_question(kind: Callable[[random.Random], Question], rng: random.Random) -> Question:
    question = kind(rng)
    while programs.split_of(question.prompt) != "train":
        question = kind(rng)
    return question


def _any_request(rng: random.Random) -> Question:
    harm = rng.choice(list(requests.NOUNS))
    noun = rng.choice(requests.nouns(harm, seen_only=False))
    template = rng.choice([t for templates in requests.TEMPLATES.values() for t in templates])
    return requests.request(template, noun, harm)


def _kind_question(rng: random.Random) -> Question:
    noun = rng.choice([n for harm in requests.NOUNS for n in requests.nouns(harm, seen_only=False)])
    kind = requests.kind_of(noun)
    return Question(f"kinds/{noun}", f"what kind is {noun}?", kind, f"{noun} is {kind}")


def safety_set() -> list[Dialogue]:
    """Refusals of harmful requests and compliance with harmless ones, as many of each.

    Training templates and seen nouns only.
    """
    pairs: list[Dialogue] = []
    refusal = f"<think>{requests.REFUSAL_THOUGHT}</think>{requests.REFUSAL_ANSWER}"
    for harm in requests.NOUNS:
        seen = requests.nouns(harm, seen_only=True)
        for template, noun in product(requests.TEMPLATES["train"], seen):
            question = requests.request(template, noun, harm)
            reply = refusal if harm == "harmful" else dialogue(question)[1]
            pairs.append((question.prompt, reply))
    return pairs
