"""Verdicts on answers. Outcomes: right, wrong, no answer (nothing was found), not parsed."""

from weightlens.evaluate.scorers.choice import choice_scorer
from weightlens.evaluate.scorers.exact import exact_scorer
from weightlens.evaluate.scorers.formula import formula_scorer
from weightlens.evaluate.scorers.number import number_scorer

__all__ = ["choice_scorer", "exact_scorer", "formula_scorer", "number_scorer"]
