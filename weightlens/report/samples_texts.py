"""What a model said, taken apart for reading, and made as short as a page can bear."""

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate

from weightlens.evaluate.result import Draw
from weightlens.evaluate.thinking import THOUGHTS
from weightlens.report.sensitive import is_hash

Shortened = str | tuple[str, int, str]
"""A text, or its beginning, how many characters are left out behind that, and its end."""

SHORTEST_LIMIT = 500
_BEGINNING = 2 / 3


@dataclass(frozen=True)
class Said:
    """An answer in parts. raw: as it was generated, where that says more than the other two."""

    thinking: str
    answer: str
    raw: str

    @property
    def lengths(self) -> tuple[int, int, int]:
        """Characters of each."""
        return len(self.thinking), len(self.answer), len(self.raw)


def taken_apart(draw: Draw) -> Said:
    """Thinking, answer, and the raw text where special tokens or an open thought remain in it."""
    if is_hash(draw.raw):
        return Said("", draw.answer, "")
    for begins, ends in THOUGHTS:
        thought, closed, after = draw.raw.rpartition(ends)
        if closed:
            thinking = thought.replace(begins, "", 1).strip()
            return Said(thinking, draw.answer, "" if after.strip() == draw.answer else draw.raw)
        if begins in draw.raw and not draw.answer:
            return Said(draw.raw.replace(begins, "", 1).strip(), "", "")
    return Said("", draw.answer, "" if draw.raw.strip() == draw.answer else draw.raw)


def fair_limit(lengths: Iterable[int], budget: int) -> int | None:
    """The length to which texts must be cut so that all of them together stay within the budget.

    Short texts stay whole, only the longest are cut. None where nothing needs to be; never below
    `SHORTEST_LIMIT` characters.
    """
    ordered = sorted(lengths)
    before = [0, *accumulate(ordered)]
    if before[-1] <= budget:
        return None
    limits = range(max(ordered) + 1)

    def total(limit: int) -> int:
        whole = bisect_left(ordered, limit)
        return before[whole] + limit * (len(ordered) - whole)

    return max(SHORTEST_LIMIT, bisect_left(limits, budget + 1, key=total) - 1)


def shortened(text: str, limit: int | None) -> Shortened:
    """At most `limit` characters of a text, of its beginning and its end."""
    if limit is None or len(text) <= limit:
        return text
    head = int(limit * _BEGINNING)
    tail = limit - head
    return text[:head], len(text) - limit, text[len(text) - tail :]
