"""Two models of an evaluation on the same questions: as its report says, or from its answers."""

from dataclasses import replace
from pathlib import Path

from weightlens.errors import EvaluationError
from weightlens.evaluate.result import EvalReport, PairResult
from weightlens.evaluate.statistics import Difference, paired_by_question
from weightlens.report.answer_files import answer_files
from weightlens.report.eval_parts import Part, in_percent, results_of
from weightlens.report.subject import Evaluated

Verdicts = dict[str, list[float]]
"""Of every question's draws, by its id."""


class Pairs:
    """The differences between any two models of an evaluation, part by part."""

    def __init__(self, evaluated: Evaluated) -> None:
        """Reads nothing yet."""
        self._report, self._folder = evaluated.report, evaluated.file.parent
        self._verdicts: dict[tuple[str, str, str], Verdicts] = {}

    def difference(self, a: str, b: str, part: Part) -> Difference | None:
        """b minus a; None where they were not compared and their answers are not there."""
        for pair in self._report.pairs:
            if (pair.task, pair.group) == (part.task, part.group):
                if (pair.a, pair.b) == (a, b):
                    return _stored(pair)
                if (pair.a, pair.b) == (b, a):
                    return _turned(_stored(pair))
        return self._from_answers(a, b, part) if in_percent(part.metric) else None

    def _from_answers(self, a: str, b: str, part: Part) -> Difference | None:
        first, second = (self._once(model, part) for model in (a, b))
        if not first or not second:
            return None
        try:
            return paired_by_question(first, second).difference
        except EvaluationError:
            return None

    def _once(self, model: str, part: Part) -> Verdicts:
        key = (model, part.task, part.group)
        if key not in self._verdicts:
            self._verdicts[key] = verdicts_of(self._report, self._folder, model, part)
        return self._verdicts[key]


def verdicts_of(report: EvalReport, folder: Path, model: str, part: Part) -> Verdicts:
    """The verdicts of a model on a part, from the answers in a folder.

    Empty where they cannot be read, and where a file holds other questions than those that were
    scored (an earlier run asked more).
    """
    found: Verdicts = {}
    scored = results_of(report).get(part.of(model))
    try:
        for file in answer_files(report, folder):
            if (file.model, file.task) == (model, part.task):
                for draw in file.draws():
                    if part.group in ("", draw.group):
                        found.setdefault(draw.question, []).append(draw.verdict)
    except EvaluationError:
        return {}
    return found if scored is not None and len(found) == scored.n else {}


def _stored(pair: PairResult) -> Difference:
    return Difference(pair.difference, pair.ci95, pair.p, pair.detectable, pair.a_only, pair.b_only)


def _turned(found: Difference) -> Difference:
    low, high = found.ci95
    return replace(
        found, value=-found.value, ci95=(-high, -low), a_only=found.b_only, b_only=found.a_only
    )
