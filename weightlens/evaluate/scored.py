"""Draws made into results: one model on one task, and two models on the same questions."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from types import MappingProxyType

from weightlens.evaluate.result import Draw, PairResult, TaskResult
from weightlens.evaluate.significance import Family, holm, sentence
from weightlens.evaluate.statistics import (
    estimate,
    paired_by_question,
    pass_at_k,
    question_means,
    seed_spread,
)
from weightlens.evaluate.task import Task


@dataclass(frozen=True)
class Scored:
    """A model's draws on a task, question by question, each with as many draws."""

    task: Task
    draws: tuple[Draw, ...]

    @property
    def verdicts(self) -> list[float]:
        """The mean over the draws of every question, in their order."""
        return [*question_means(self.by_question()).values()]

    def by_question(self) -> dict[str, list[float]]:
        """The verdicts of every question's draws."""
        found: dict[str, list[float]] = {}
        for draw in self.draws:
            found.setdefault(draw.question, []).append(draw.verdict)
        return found

    def parts(self) -> dict[str, "Scored"]:
        """What is reported: the whole, named by nothing, or the task's groups apart."""
        if not self.task.groups:
            return {"": self}
        parts = {
            group: Scored(self.task, tuple(d for d in self.draws if d.group == group))
            for group in self.task.groups
        }
        return {group: part for group, part in parts.items() if part.draws}

    def results(self) -> Iterator[TaskResult]:
        """Value and interval of every part."""
        for group, part in self.parts().items():
            yield part.result(group)

    def result(self, group: str = "") -> TaskResult:
        """Value and interval of all these draws."""
        n, of_questions = len(self.draws), self.by_question()
        draws = max(map(len, of_questions.values()))
        return task_result(
            self.task,
            self.verdicts,
            group=group,
            draws=draws,
            truncated=sum(d.finish == "length" for d in self.draws) / n,
            degenerate=sum(bool(d.degenerate) for d in self.draws) / n,
            more=self._among_draws(draws) if draws > 1 else {},
        )

    def _among_draws(self, draws: int) -> dict[str, float]:
        """What several draws tell besides their mean: pass@k where verdicts are right or wrong (a
        refusal is neither), and how far the score moves with the seed alone."""
        rows = [*self.by_question().values()]
        found = {"seed_spread": seed_spread(rows)}
        passes = not self.task.metric.startswith("refusal_rate")
        if passes and all(value in (0, 1) for row in rows for value in row):
            for k in _doubling(draws):
                shares = [pass_at_k(round(sum(row)), len(row), k) for row in rows]
                found[f"pass@{k}"] = fmean(shares)
        return found


def _doubling(draws: int) -> Iterator[int]:
    """2, 4, 8 … below the number of draws, and that number."""
    k = 2
    while k < draws:
        yield k
        k *= 2
    yield draws


def task_result(
    task: Task,
    verdicts: Sequence[float],
    *,
    group: str = "",
    draws: int = 1,
    truncated: float | None = None,
    degenerate: float | None = None,
    more: Mapping[str, float] = MappingProxyType({}),
) -> TaskResult:
    """The result of a task from its verdicts, one a question (a mean over draws)."""
    found = estimate(verdicts)
    return TaskResult(
        task=task.name,
        version=task.version,
        group=group,
        metric=task.metric,
        value=found.value,
        stderr=found.stderr,
        ci95=found.ci95,
        n=len(verdicts),
        draws=draws,
        truncated=truncated,
        degenerate=degenerate,
        higher_is_better=task.groups.get(group, task.higher_is_better),
        more=dict(more),
    )


NOT_COMPARED = "share no question; not compared"
"""What the note of two models ends with whose questions are all different."""


@dataclass(frozen=True)
class Comparison:
    """Models beside the first. notes: what could not be compared, in words."""

    pairs: list[PairResult]
    notes: list[str]


def compare_with_first(scored: Mapping[str, Sequence[Scored]]) -> Comparison:
    """Every model but the first, minus the first, part by part of every task, on the questions that
    both were asked; p-values are adjusted for all of them together."""
    (first, reference), *others = scored.items()
    pairs, notes = list[_Pair](), list[str]()
    for name, results in others:
        for whole_a, whole_b in zip(reference, results, strict=True):
            for group, a, b in _parts_of_either(whole_a, whole_b):
                if a.by_question().keys() & b.by_question().keys():
                    pairs.append(_Pair(first, name, a, b, group))
                else:
                    part = f"{a.task.name} {group}".rstrip()
                    both = " and ".join(Path(label).name for label in (first, name))
                    notes.append(f"{part}: {both} {NOT_COMPARED}")  # without folders: it may go out
    adjusted = holm([pair.found.p for pair in pairs])
    compared = zip(pairs, adjusted, strict=True)
    return Comparison([pair.result(Family(p, len(pairs))) for pair, p in compared], notes)


def _parts_of_either(a: Scored, b: Scored) -> Iterator[tuple[str, Scored, Scored]]:
    ours, theirs = a.parts(), b.parts()
    for group in dict.fromkeys([*ours, *theirs]):
        yield group, ours.get(group, Scored(a.task, ())), theirs.get(group, Scored(b.task, ()))


class _Pair:
    """Two models on one part of one task."""

    def __init__(self, first: str, second: str, a: Scored, b: Scored, group: str) -> None:
        self._names, self._task, self._group = (first, second), a.task, group
        self._matched = paired_by_question(a.by_question(), b.by_question())
        self.found = self._matched.difference

    def result(self, family: Family) -> PairResult:
        """With its p-value among the others of the report."""
        found = self.found
        return PairResult(
            a=self._names[0],
            b=self._names[1],
            task=self._task.name,
            group=self._group,
            difference=found.value,
            ci95=found.ci95,
            p=found.p,
            p_adjusted=family.p,
            detectable=found.detectable,
            a_only=found.a_only,
            b_only=found.b_only,
            sentence=self._sentence(family),
        )

    def _sentence(self, family: Family) -> str:
        better = self._task.groups.get(self._group, self._task.higher_is_better)
        said = sentence(self.found, n=self._matched.n, higher_is_better=better, family=family)
        return "; ".join(filter(None, (said, self._matched.left_out)))
