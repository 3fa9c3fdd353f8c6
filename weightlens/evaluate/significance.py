"""What a difference between two models comes to, in one plain sentence.

Absence of evidence is never called evidence of absence: where nothing shows, the sentence says how
large a difference would have.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from weightlens.evaluate.statistics import Difference

LEVEL = 0.05
FEW = 30
"""Below so many questions a sentence says how many there were."""

Finding = Literal["shown", "alone", "unsure", "not shown"]


@dataclass(frozen=True)
class Family:
    """The comparisons that one reader sees together.

    p: this difference's, adjusted by `holm`. comparisons: how many were adjusted for.
    """

    p: float
    comparisons: int


def holm(ps: Sequence[float]) -> list[float]:
    """p-values adjusted for being looked at together, in their order.

    Holm 1979, Scand. J. Statist. 6:65: the i-th smallest times the number that are not smaller,
    never below the one before it, at most 1. Whoever calls a difference shown where the adjusted
    p is at most 0.05 is wrong about any of them in at most one report of twenty. Raises ValueError
    for a p beyond 0 to 1.
    """
    if any(not 0 <= p <= 1 for p in ps):
        raise ValueError("a p-value lies beyond 0 to 1")
    adjusted, largest = [0.0] * len(ps), 0.0
    for rank, place in enumerate(sorted(range(len(ps)), key=lambda i: ps[i])):
        largest = max(largest, min(1.0, (len(ps) - rank) * ps[place]))
        adjusted[place] = largest
    return adjusted


def finding(difference: Difference, family: Family | None = None) -> Finding:
    """Whether a difference shows at the 5 % level.

    shown: the interval leaves out 0 and p is at most 0.05, adjusted where a family is given.
    alone: so by itself, but not within its family. unsure: interval and test disagree.
    """
    low, high = difference.ci95
    beyond, unlikely = low > 0 or high < 0, difference.p <= LEVEL
    if beyond != unlikely:
        return "unsure"
    if not unlikely:
        return "not shown"
    return "shown" if family is None or family.p <= LEVEL else "alone"


def sentence(
    difference: Difference,
    *,
    n: int,
    higher_is_better: bool,
    family: Family | None = None,
) -> str:
    """The sentence for a difference of shares, b minus a, in points of 100.

    n: questions compared. higher_is_better: False speaks of rising and falling. Begins in lower
    case and ends without a full stop, so that it can follow a name and a colon.
    """
    found = finding(difference, family)
    up, down = ("a gain", "a loss") if higher_is_better else ("a rise", "a fall")
    toward = up if difference.value > 0 else down
    feared = down if higher_is_better else up
    interval = " to ".join(signed_points(end) for end in difference.ci95)
    few = f"; {n} question{'s' if n > 1 else ''} only" if n < FEW else ""
    if found == "not shown":
        searched, could = _searched(difference, feared, toward)
        return (
            f"no detectable {searched}: {signed_points(difference.value)} points, 95 % {interval}; "
            f"this set could {could}{few}"
        )
    size = f"{points(abs(difference.value))} points, 95 % {interval}"
    p = _within(_p(difference.p), family)
    if found == "unsure":
        return f"perhaps {toward} of {size} ({p}; interval and test disagree){few}"
    if found == "alone":
        return f"perhaps {toward} of {size} ({p}: not shown among so many){few}"
    if higher_is_better:
        return f"{toward} of {size} ({p}){few}"
    return f"{'rises' if difference.value > 0 else 'falls'} by {size} ({p}){few}"


def points(share: float) -> str:
    """A share in points: 6.2."""
    return f"{100 * share:.1f}"


def signed_points(share: float) -> str:
    """A difference of shares in points with its sign, the minus a true one: −0.8, +1.5, 0.0."""
    size = 100 * share
    if abs(size) < 1e-9:
        return "0.0"
    # the end of an interval that leaves out 0 must not read 0
    text = f"{size:+.1f}" if abs(size) >= 0.05 else f"{size:+.1g}"
    return text.replace("-", "−")


def _searched(difference: Difference, feared: str, toward: str) -> tuple[str, str]:
    """What did not show, and what would have. The feared direction by its name; where the numbers
    lean the other way, no direction."""
    noun, least = feared.removeprefix("a "), _rounded_up(difference.detectable)
    if least is None:
        return noun, "not have shown any"
    if difference.value == 0 or toward == feared:
        return noun, f"have shown {feared} of {least}"
    return "difference", f"have shown one of {least}"


def _rounded_up(detectable: float) -> str | None:
    """In points, rounded up so as not to promise too much; None where nothing would show."""
    size = 100 * detectable
    if math.isnan(size) or size >= 100:
        return None
    # a hair below, so that 4 points computed as 4.0000000001 do not become 5
    whole = math.ceil(size - 1e-6)
    return str(whole) if size > 2 else f"{math.ceil(10 * size - 1e-6) / 10:.1f}"


def _p(p: float) -> str:
    if p < 0.0001:
        return "p < 0.0001"
    return f"p = {p:.4f}" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


def _within(p: str, family: Family | None) -> str:
    """p as it is written, and adjusted for its family."""
    if family is None or family.comparisons == 1:
        return p
    adjusted = _p(family.p)
    # very small stays very small: said once
    both = p if adjusted == p else f"{p}, {adjusted.removeprefix('p = ')}"
    return f"{both} among {family.comparisons} comparisons"
