"""Walks checkpoints tensor by tensor and measures what it finds."""

from weightlens.survey.overlap import measure_overlap
from weightlens.survey.result import OverlapReport

__all__ = ["OverlapReport", "measure_overlap"]
