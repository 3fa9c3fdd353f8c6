"""What a chat model's reply gives as its answer: in a box, after a marker, or as it can be found.

Replies come with Markdown and LaTeX around the answer ("**Answer:** B", "\\boxed{\\text{B}}").
What is found here is text; whether it is right is for the scorers. Every way but a task's own
pattern takes time in proportion to the length of the reply.
"""

import json
import re
from collections.abc import Callable, Iterator, Sequence

from weightlens.evaluate.extraction.choices import chosen
from weightlens.evaluate.extraction.marked import after_marker, boxed
from weightlens.evaluate.extraction.numerals import last_number
from weightlens.evaluate.task import Question
from weightlens.evaluate.taskfile import ExtractorName, Try

__all__ = ["Candidates", "candidates", "choices_of"]

Candidates = Callable[[Question, str], Iterator[str]]
"""What a reply may give as the answer, the likeliest first, looked for as it is asked for."""


def candidates(tries: Sequence[Try], usual: Sequence[ExtractorName]) -> Candidates:
    """The ways of a task file, or the scorer's usual ones where it names none."""
    ways = [_way(attempt) for attempt in tries or [Try(by=name) for name in usual]]

    def found(question: Question, answer: str) -> Iterator[str]:
        for way in ways:
            text = way(question, answer)
            if text:
                yield text

    return found


def choices_of(question: Question) -> dict[str, str]:
    """The texts of a question's options by their labels."""
    options: dict[str, str] = json.loads(question.fields["options"])
    return options


def _way(attempt: Try) -> Callable[[Question, str], str | None]:
    if attempt.pattern is not None:
        pattern = re.compile(attempt.pattern)
        return lambda question, answer: _last_group(pattern, answer)
    assert attempt.by is not None
    return _WAYS[attempt.by]


def _last_group(pattern: re.Pattern[str], answer: str) -> str | None:
    last = None
    for match in pattern.finditer(answer):
        last = match
    return last[1].strip() if last is not None and last[1] is not None else None


_WAYS: dict[ExtractorName, Callable[[Question, str], str | None]] = {
    "boxed": lambda question, answer: boxed(answer),
    "after_marker": lambda question, answer: after_marker(answer),
    "last_number": lambda question, answer: last_number(answer),
    "choice": lambda question, answer: chosen(answer, choices_of(question)),
    "whole": lambda question, answer: answer.strip(),
}
