"""The difference of two models on the same questions: how large, how sure, and what would show."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from weightlens.errors import EvaluationError
from weightlens.evaluate.statistics.draws import question_means
from weightlens.evaluate.statistics.flips import sign_flip_p
from weightlens.evaluate.statistics.means import skewed, skewed_p
from weightlens.evaluate.statistics.shares import (
    Z80,
    Z95,
    Interval,
    Values,
    checked,
    limits,
)


@dataclass(frozen=True)
class Difference:
    """b minus a on the same questions.

    p: two-sided, never 0; of verdicts by exchanging the models question by question
    (`sign_flip_p`), which for those of 0 and 1 is McNemar's exact test. detectable: the difference
    that this set would have shown with 80 % power at the 5 % level. a_only, b_only: questions on
    which a, or b, scored higher.
    """

    value: float
    ci95: Interval
    p: float
    detectable: float
    a_only: int
    b_only: int


@dataclass(frozen=True)
class Matched:
    """A difference over the n questions that both were asked.

    a_left_out, b_left_out: questions asked of a alone, of b alone.
    """

    difference: Difference
    n: int
    a_left_out: int
    b_left_out: int

    @property
    def left_out(self) -> str:
        """What was left out, in words; empty for nothing."""
        parts = [
            f"{count} asked of {who} alone"
            for count, who in ((self.a_left_out, "the first"), (self.b_left_out, "the second"))
            if count
        ]
        return f"questions left out: {' and '.join(parts)}" if parts else ""


def paired(a: Sequence[float], b: Sequence[float], *, draws: int = 1) -> Difference:
    """Difference b - a of verdicts over the same questions, with `newcombe`'s interval.

    a, b: one mean a question, 0 to 1. draws: how many of them each is the mean of, the fewer of
    the two models'; 1 is safe where that is not known. Raises ValueError where the lengths differ,
    for no questions, and for a value beyond 0 to 1.
    """
    detectable = _detectable(_gaps(a, b), draws)
    p = sign_flip_p(_gaps(a, b))
    return _difference(a, b, newcombe(a, b, draws=draws), detectable, p=p)


def paired_means(a: Sequence[float], b: Sequence[float]) -> Difference:
    """Difference b - a of any finite numbers, pair by pair, with the interval and p of `skewed`.

    detectable: by Student's t, NaN for a single pair. Raises ValueError where the lengths differ
    or are 0.
    """
    gaps = _gaps(a, b)
    n, detectable = len(gaps), math.nan
    if n > 1:
        quantiles = float(special.stdtrit(n - 1, 0.975) + special.stdtrit(n - 1, 0.8))
        detectable = quantiles * float(np.std(gaps, ddof=1)) / math.sqrt(n)
    listed = gaps.tolist()
    return _difference(a, b, skewed(listed), detectable, p=skewed_p(listed))


def paired_by_question(
    a: Mapping[str, Sequence[float]], b: Mapping[str, Sequence[float]]
) -> Matched:
    """Difference b - a over the questions that both have, from the verdicts of their draws by id.

    Raises EvaluationError where they share no question, or a model's questions have different
    numbers of draws.
    """
    shared = [question for question in a if question in b]
    if not shared:
        raise EvaluationError(
            "the two models share no question; compare results of the same task and version"
        )
    means_a = question_means({question: a[question] for question in shared})
    means_b = question_means({question: b[question] for question in shared})
    draws = min(len(a[shared[0]]), len(b[shared[0]]))
    difference = paired([*means_a.values()], [*means_b.values()], draws=draws)
    n = len(shared)
    return Matched(difference, n, a_left_out=len(a) - n, b_left_out=len(b) - n)


def newcombe(a: Sequence[float], b: Sequence[float], *, draws: int = 1) -> Interval:
    """95 % interval of the difference b - a of paired shares.

    The distances of each share from its own limits, squared and added with their correlation:
    Newcombe 1998, Statist. Med. 17:2635, method 10, for verdicts of 0 and 1; for means of several
    draws the same (Zou & Donner 2008, Statist. Med. 27:1693) on the limits of `clustered`. Unlike
    a bootstrap or Student's t of the differences it does not collapse where no verdict flipped.
    """
    x, y = checked(a), checked(b)
    (low_a, high_a), (low_b, high_b) = limits(x), limits(y)
    share_a, share_b = float(x.mean()), float(y.mean())
    below_a, above_a = share_a - low_a, high_a - share_a
    below_b, above_b = share_b - low_b, high_b - share_b
    phi = _correlation(x, y, draws)
    lower = below_b**2 - 2 * phi * below_b * above_a + above_a**2
    upper = above_b**2 - 2 * phi * above_b * below_a + below_a**2
    difference = share_b - share_a
    return difference - math.sqrt(max(lower, 0)), difference + math.sqrt(max(upper, 0))


def _detectable(gaps: Values, draws: int) -> float:
    """The difference, at most 1, that would come out at the 5 % level four times in five.

    The d that solves d = (1.96 + 0.84) sqrt((v + u/n + u d) / n): a difference is made of flips,
    which spread as well, so their variance v as seen is not yet all (Connor 1987, Biometrics
    43:207, with u = 1 for one draw). u/n: one flip more than seen, so that a set without flips
    does not claim to see everything.
    """
    n, u, c = len(gaps), _unseen(draws), (Z95 + Z80) ** 2
    variance = float(gaps.var()) + u / n
    return min(1.0, (c * u + math.sqrt((c * u) ** 2 + 4 * n * c * variance)) / (2 * n))


def _correlation(x: Values, y: Values, draws: int) -> float:
    """Correlation of the pairs, its covariance less Newcombe's continuity correction."""
    product = float(x.std() * y.std())
    if product == 0:
        return 0.0
    covariance = float(np.mean((x - x.mean()) * (y - y.mean())))
    if covariance > 0:
        covariance = max(covariance - _unseen(draws) / (2 * len(x)), 0.0)
    return covariance / product


def _unseen(draws: int) -> float:
    """What one further question could add, squared: a whole flip for one draw; for more, between
    that and the 1/draws of luck alone. With nothing the interval of eight draws of 30 questions
    covers 0.81 where one question in twenty is lost outright, with this 0.95."""
    return 1 / math.sqrt(draws)


def _gaps(a: Sequence[float], b: Sequence[float]) -> Values:
    if len(a) != len(b) or not a:
        raise ValueError(f"pairs of {len(a)} and {len(b)} verdicts")
    return np.asarray(b, dtype=np.float64) - np.asarray(a, dtype=np.float64)


def _difference(
    a: Sequence[float], b: Sequence[float], ci95: Interval, detectable: float, *, p: float
) -> Difference:
    return Difference(
        value=(math.fsum(b) - math.fsum(a)) / len(a),
        ci95=ci95,
        p=p,
        detectable=detectable,
        a_only=sum(x > y for x, y in zip(a, b, strict=True)),
        b_only=sum(y > x for x, y in zip(a, b, strict=True)),
    )
