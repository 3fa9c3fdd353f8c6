"""Whether a merge is any good, in one sentence that its paired results carry, and line by line.

Abilities are compared with the base, or where that was not asked with the best source; refusals of
harmful requests with the source that refuses most; refusals of harmless ones with the base. All of
these differences are looked at together, so their p-values are adjusted for each other. What was
not measured is said to be so.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from weightlens.evaluate.significance import (
    Family,
    finding,
    holm,
    points,
    sentence,
)
from weightlens.evaluate.statistics import Difference
from weightlens.report.eval_parts import (
    Part,
    compared_parts,
    figure,
    in_percent,
    names_of,
    results_of,
)
from weightlens.report.paired_answers import Pairs
from weightlens.report.sensitive import REFUSALS
from weightlens.report.subject import Merged, Trial

Tone = Literal["good", "bad", "open"]
Topic = Literal["ability", "refusal", "over-refusal"]


@dataclass(frozen=True)
class Line:
    """One part of the verdict. about: the task; words: what was found, with numbers.

    tone: open where nothing can be said.
    """

    about: str
    words: str
    tone: Tone


@dataclass(frozen=True)
class Verdict:
    """sentence: all of it in one; lines: one a comparison."""

    sentence: str
    lines: Sequence[Line]


def verdict_of(merged: Merged, trial: Trial | None) -> Verdict:
    """Of a merge; trial: None where no evaluation at hand holds it."""
    if trial is None:
        return Verdict(f"Not evaluated: run `{eval_command(merged)}` and name its folder here.", [])
    compared = [*_Comparing(trial).all()]
    claims = [*_claims(compared)]
    return Verdict(f"{_capital('; '.join(claims))}.", [one.line() for one in compared])


def eval_command(merged: Merged) -> str:
    """What evaluates a merge beside its base and sources."""
    base = [merged.report.base.model] if merged.report.base else []
    models = [*base, *(s.model for s in merged.report.sources), str(merged.file.parent)]
    return f"weightlens eval {' '.join(dict.fromkeys(models))} --out evaluation"


def topic_of(part: Part) -> Topic:
    """What a task measures: refusals of harmful requests, of harmless ones, or an ability."""
    if not part.metric.startswith(REFUSALS):
        return "ability"
    return "refusal" if part.higher_is_better else "over-refusal"


@dataclass(frozen=True)
class Compared:
    """The merge against another model on one part. difference: None where it cannot be paired;
    lost: how much worse than the same model the source is which lost most, by its name."""

    part: Part
    n: int
    merge: float
    against: str
    other: float
    difference: Difference | None
    family: Family | None = None
    lost: tuple[str, float] | None = None

    @property
    def topic(self) -> Topic:
        """What it is about."""
        return topic_of(self.part)

    @property
    def found(self) -> str:
        """same, up, down, or with a ? where it is unsure; beside where it was not paired."""
        if self.difference is None:
            return "beside"
        kind = finding(self.difference, self.family)
        if kind == "not shown":
            return "same"
        way = "up" if self.difference.value > 0 else "down"
        return way if kind == "shown" else f"{way}?"

    def line(self) -> Line:
        """In words, with the numbers."""
        scores = " beside ".join(figure(v, self.part.metric) for v in (self.merge, self.other))
        if self.difference is None:
            words = (f"{scores} of {self.against}; not compared question by question, since the "
                     "answers are not at hand")  # fmt: skip
            return Line(self.part.label, words, "open")
        said = sentence(
            self.difference,
            n=self.n,
            higher_is_better=self.part.higher_is_better,
            family=self.family,
        )
        return Line(self.part.label, f"against {self.against} ({scores}): {said}", self._tone())

    def _tone(self) -> Tone:
        if self.found.endswith("?"):
            return "open"
        worse = "down" if self.part.higher_is_better else "up"
        return "bad" if self.found == worse else "good"


class _Comparing:
    """The comparisons that a verdict is built from."""

    def __init__(self, trial: Trial) -> None:
        self._trial, self._report = trial, trial.evaluated.report
        self._names, self._results = names_of(self._report), results_of(self._report)
        self._pairs = Pairs(trial.evaluated)

    def all(self) -> list[Compared]:
        """One a task, adjusted for each other."""
        parts = [p for p in compared_parts(self._report).values() if in_percent(p.metric)]
        found = [c for part in parts if (c := self._compared(part)) is not None]
        ps = [c.difference.p for c in found if c.difference is not None]
        adjusted = iter(holm(ps))
        return [
            c if c.difference is None else Compared(
                c.part, c.n, c.merge, c.against, c.other, c.difference,
                Family(next(adjusted), len(ps)), c.lost)
            for c in found
        ]  # fmt: skip

    def _compared(self, part: Part) -> Compared | None:
        merge = self._results.get(part.of(self._trial.merge))
        other = self._other(part)
        if merge is None or other is None:
            return None
        return Compared(
            part,
            merge.n,
            merge.value,
            self._names[other],
            self._value(other, part),
            self._pairs.difference(other, self._trial.merge, part),
            lost=self._lost(other, part),
        )

    def _other(self, part: Part) -> str | None:
        """The model to compare with."""
        base = self._trial.base
        asked = [m for m in self._trial.sources if part.of(m) in self._results]
        best = max(asked, key=lambda m: part.goodness(self._value(m, part)), default=None)
        if base is None or part.of(base) not in self._results:
            return best
        return best if best and topic_of(part) == "refusal" else base

    def _lost(self, other: str, part: Part) -> tuple[str, float] | None:
        """The source that lost most of an ability against the same model."""
        lost = [
            (self._names[m], part.goodness(self._value(other, part) - self._value(m, part)))
            for m in self._trial.sources
            if m != other and part.of(m) in self._results
        ]
        return max(lost, key=lambda pair: pair[1], default=None)

    def _value(self, model: str, part: Part) -> float:
        return self._results[part.of(model)].value


def _claims(compared: Sequence[Compared]) -> Iterator[str]:
    """What was found, then what was not measured."""
    topics: dict[Topic, list[Compared]] = {"ability": [], "refusal": [], "over-refusal": []}
    for c in compared:
        topics[c.topic].append(c)
    yield from _of_abilities(topics["ability"])
    sayings: tuple[tuple[Topic, Callable[[Compared, str], str]], ...] = (
        ("refusal", _of_refusal),
        ("over-refusal", _of_over_refusal),
    )
    for topic, said in sayings:
        several = len(topics[topic]) > 1
        for c in topics[topic]:
            yield said(c, f" ({c.part.label})" if several else "")
    if not topics["ability"]:
        yield "no ability was measured"
    if not topics["refusal"]:
        yield "refusal was not measured"


def _of_abilities(abilities: Sequence[Compared]) -> Iterator[str]:
    """Those that were kept in one claim, every other in its own."""
    kept = [c for c in abilities if c.found == "same"]
    for against in dict.fromkeys(c.against for c in kept):
        group = [c for c in kept if c.against == against]
        names = _listed([c.part.label for c in group])
        yield f"keeps {names}: no detectable loss against {against} ({_could_show(group)})"
    for c in abilities:
        if c.found == "beside":
            merge, other = (figure(v, c.part.metric) for v in (c.merge, c.other))
            yield f"has {merge} % on {c.part.label} beside {other} % of {c.against}"
        elif c.found != "same":
            yield _changed(c)


def _could_show(group: Sequence[Compared]) -> str:
    """What would have shown four times in five on all of these tasks, in whole points upwards."""
    least = max(c.difference.detectable for c in group if c.difference is not None)
    # NaN too: of a task too small for any difference to show
    if not least < 1:
        return "though none would have shown"
    return f"one of {max(1, math.ceil(100 * least - 1e-6))} points would have shown"


def _changed(c: Compared) -> str:
    assert c.difference is not None  # or it would not have been found
    maybe = "perhaps " if c.found.endswith("?") else ""
    verb = "gains" if c.difference.value > 0 else "loses"
    said = f"{maybe}{verb} {points(abs(c.difference.value))} points of {c.part.label} against "
    said += c.against
    loss = c.part.goodness(-c.difference.value)
    if loss > 0 and c.lost is not None and c.lost[1] > loss:
        said += f", where {c.lost[0]} {verb} {points(c.lost[1])}"
    return said


def _of_refusal(c: Compared, named: str) -> str:
    share = f"{figure(c.merge, c.part.metric)} % of harmful requests{named}"
    if c.found == "beside":
        return f"refuses {share}, beside {figure(c.other, c.part.metric)} % by {c.against}"
    if c.found == "same":
        return f"refuses {share}, no detectable difference from {c.against}"
    assert c.difference is not None  # or it would not have been found
    maybe = "perhaps " if c.found.endswith("?") else ""
    way = "more" if c.difference.value > 0 else "less"
    return (
        f"refuses {share}, {maybe}{points(abs(c.difference.value))} points {way} than {c.against}"
    )


def _of_over_refusal(c: Compared, named: str) -> str:
    harmless = f"harmless requests{named}"
    if c.found == "beside":
        return f"refuses {figure(c.merge, c.part.metric)} % of {harmless}"
    if c.found == "same":
        return f"refuses detectably no more {harmless} than {c.against}"
    assert c.difference is not None  # or it would not have been found
    maybe = "perhaps " if c.found.endswith("?") else ""
    way = "more" if c.difference.value > 0 else "fewer"
    size = points(abs(c.difference.value))
    return f"refuses {maybe}{size} points {way} {harmless} than {c.against}"


def _listed(names: Sequence[str]) -> str:
    *before, last = names
    return f"{', '.join(before)} and {last}" if before else last


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
