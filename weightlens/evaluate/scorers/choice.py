"""Answers that are one of several options."""

from collections.abc import Sequence

from weightlens.evaluate.extraction import candidates, choices_of
from weightlens.evaluate.task import Question, Scorer, Verdict
from weightlens.evaluate.taskfile import Try


def choice_scorer(tries: Sequence[Try] = ()) -> Scorer:
    """1 where the option chosen is the reference. What a pattern of a task's own finds must be a
    label, in whatever letter case."""
    find = candidates(tries, ("choice",))

    def score(question: Question, answer: str) -> Verdict:
        labels = {label.casefold(): label for label in choices_of(question)}
        for found in find(question, answer):
            label = labels.get(found.strip().casefold())
            if label is not None:
                right = label == question.reference
                return Verdict(float(right), label, "right" if right else "wrong")
        return Verdict(0.0, None, "no answer")

    return score
