"""k draws a question: their mean, what the best of several would reach, and luck between seeds."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from weightlens.errors import EvaluationError


def question_means(verdicts: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """avg@k: the mean verdict of every question, by its id.

    Raises EvaluationError where questions have different numbers of draws, or one has none: their
    mean would weigh questions by what happened to be finished.
    """
    counts = {question: len(values) for question, values in verdicts.items()}
    if counts:
        usual = max(counts.values())
        short = next((question for question, count in counts.items() if count != usual), None)
        if short is not None or usual == 0:
            raise EvaluationError(
                f"question {short or next(iter(counts))} has {counts.get(short or '', 0)} draws "
                f"where others have {usual}; finish the run, or leave the question out"
            )
    return {question: math.fsum(values) / len(values) for question, values in verdicts.items()}


def pass_at_k(correct: int, draws: int, k: int) -> float:
    """The chance that the best of k draws is right, without bias, from `correct` of `draws`.

    1 - C(draws - correct, k) / C(draws, k): Chen et al. 2021, arXiv:2107.03374, equation 1, in
    whole numbers, so that nothing overflows or cancels. Raises ValueError unless
    0 <= correct <= draws and 1 <= k <= draws.
    """
    if not (0 <= correct <= draws and 1 <= k <= draws):
        raise ValueError(f"pass@{k} of {correct} right among {draws} draws")
    ways = math.comb(draws, k)
    return (ways - math.comb(draws - correct, k)) / ways


def seed_spread(verdicts: Sequence[Sequence[float]]) -> float:
    """Standard deviation, between draws, of the mean over questions: how far a score moves when
    nothing but the seed does.

    verdicts: one row a question, one column a draw. NaN for a single draw. Raises ValueError for
    rows of unequal length.
    """
    if len({len(row) for row in verdicts}) != 1:
        raise ValueError("questions with different numbers of draws have no spread by draw")
    means = np.asarray(verdicts, dtype=np.float64).mean(axis=0)
    return float(means.std(ddof=1)) if len(means) > 1 else math.nan
