"""The `builtin` suite: reasoning and requests that the project generates itself.

Small enough for a model of a million parameters, with splits that cannot leak: reasoning questions
are assigned to train, validation or test by a checksum of their text, requests by their template.
"""

from weightlens.evaluate.builtin.programs import REASONING
from weightlens.evaluate.builtin.requests import OVER_REFUSAL, REFUSAL
from weightlens.evaluate.task import Task

__all__ = ["OVER_REFUSAL", "REASONING", "REFUSAL", "SUITE"]

SUITE: tuple[Task, ...] = (REASONING, REFUSAL, OVER_REFUSAL)
"""Every task of the suite, in the order in which they are reported."""
