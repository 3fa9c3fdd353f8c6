"""Two models of an evaluation on the same questions: as its report says, or from its answers."""

from dataclasses import replace

from weightlens.errors import EvaluationError
from weightlens.evaluate.result import PairResult
from weightlens.evaluate.statistics import Difference, paired_by_question
from weightlens.report.answer_files import answer_files
from weightlens.report.eval_parts import Part, in_percent, results_of
from weightlens.report.subject import Evaluated


class Pairs:
    """The differences between any two models of an evaluation, part by part."""

    def __init__(self, evaluated: Evaluated) -> None:
        """Reads nothing yet."""
        self._report, self._folder = evaluated.report, evaluated.file.parent
        self._verdicts: dict[tuple[str, str, str], dict[str, list[float]]] = {}

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
        sides = [self._by_question(model, part) for model in (a, b)]
        scored = [results_of(self._report).get(part.of(model)) for model in (a, b)]
        for verdicts, result in zip(sides, scored, strict=True):
            # a file may hold more than was scored: an earlier run asked more
            if result is None or len(verdicts) != result.n:
                return None
        try:
            return paired_by_question(*sides).difference
        except EvaluationError:
            return None

    def _by_question(self, model: str, part: Part) -> dict[str, list[float]]:
        """The verdicts of every question's draws; empty where the answers cannot be read."""
        key = (model, part.task, part.group)
        if key not in self._verdicts:
            try:
                found = self._read(model, part)
            except EvaluationError:
                found = {}
            self._verdicts[key] = found
        return self._verdicts[key]

    def _read(self, model: str, part: Part) -> dict[str, list[float]]:
        found: dict[str, list[float]] = {}
        for file in answer_files(self._report, self._folder):
            if (file.model, file.task) == (model, part.task):
                for draw in file.draws():
                    if part.group in ("", draw.group):
                        found.setdefault(draw.question, []).append(draw.verdict)
        return found


def _stored(pair: PairResult) -> Difference:
    return Difference(pair.difference, pair.ci95, pair.p, pair.detectable, pair.a_only, pair.b_only)


def _turned(found: Difference) -> Difference:
    low, high = found.ci95
    return replace(
        found, value=-found.value, ci95=(-high, -low), a_only=found.b_only, b_only=found.a_only
    )
