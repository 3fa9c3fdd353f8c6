"""Answers that are a text, letter by letter."""

from collections.abc import Sequence

from weightlens.evaluate.extraction import candidates
from weightlens.evaluate.task import Question, Scorer, Verdict
from weightlens.evaluate.taskfile import Try


def exact_scorer(tries: Sequence[Try] = ()) -> Scorer:
    """1 where what is found first is the reference, white space around it apart."""
    find = candidates(tries, ("whole",))

    def score(question: Question, answer: str) -> Verdict:
        found = next(find(question, answer), None)
        if found is None:
            return Verdict(0.0, None, "no answer")
        right = found.strip() == question.reference.strip()
        return Verdict(float(right), found, "right" if right else "wrong")

    return score
