"""Answers that are a number, compared exactly."""

from collections.abc import Sequence

from weightlens.errors import EvaluationError
from weightlens.evaluate.extraction import candidates
from weightlens.evaluate.extraction.numerals import exact, has_number, stated_number
from weightlens.evaluate.task import Question, Scorer, Verdict
from weightlens.evaluate.taskfile import Try


def number_scorer(tries: Sequence[Try] = ()) -> Scorer:
    """1 where the first number found has the value of the reference: 1,234.50 is 1234.5, $3 is 3,
    20% is 20 and 3/4 is 0.75.

    A way whose find holds no number is passed over; a find that is an expression with numbers in it
    is not parsed, and wrong. The scorer raises EvaluationError for a reference that is no number.
    """
    find = candidates(tries, ("boxed", "after_marker", "last_number"))

    def score(question: Question, answer: str) -> Verdict:
        wanted = exact(question.reference)
        if wanted is None:
            raise EvaluationError(
                f"{question.id}: the reference {question.reference!r} is no number"
            )
        for text in find(question, answer):
            stated = stated_number(text)
            value = exact(stated) if stated is not None else None
            if value is not None:
                right = value == wanted
                return Verdict(float(right), stated, "right" if right else "wrong")
            if has_number(text):
                return Verdict(0.0, text, "not parsed")
        return Verdict(0.0, None, "no answer")

    return score
