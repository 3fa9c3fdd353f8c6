"""Intervals for shares and means, and for the difference of two models on the same questions."""

from weightlens.evaluate.statistics.draws import pass_at_k, question_means, seed_spread
from weightlens.evaluate.statistics.flips import sign_flip_p
from weightlens.evaluate.statistics.means import mean_estimate, skewed, skewed_p
from weightlens.evaluate.statistics.pairs import (
    Difference,
    Matched,
    newcombe,
    paired,
    paired_by_question,
    paired_means,
)
from weightlens.evaluate.statistics.shares import (
    Z80,
    Z95,
    Estimate,
    Interval,
    clustered,
    estimate,
    wilson,
)

__all__ = [
    "Z80",
    "Z95",
    "Difference",
    "Estimate",
    "Interval",
    "Matched",
    "clustered",
    "estimate",
    "mean_estimate",
    "newcombe",
    "paired",
    "paired_by_question",
    "paired_means",
    "pass_at_k",
    "question_means",
    "seed_spread",
    "sign_flip_p",
    "skewed",
    "skewed_p",
    "wilson",
]
