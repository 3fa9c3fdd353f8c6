"""How far a model has moved from its base on given answers, before any benchmark is run."""

from weightlens.evaluate.drift.divergence import kl_divergence, token_nll
from weightlens.evaluate.drift.probe import Probe, drift, measure, prepare
from weightlens.evaluate.drift.reading import Speaker
from weightlens.evaluate.drift.result import (
    Amount,
    Drift,
    DriftPart,
    TraceDrift,
    drift_sentence,
    largest,
    summarise,
)
from weightlens.evaluate.drift.traces import Kind, Trace, read_traces

__all__ = [
    "Amount",
    "Drift",
    "DriftPart",
    "Kind",
    "Probe",
    "Speaker",
    "Trace",
    "TraceDrift",
    "drift",
    "drift_sentence",
    "kl_divergence",
    "largest",
    "measure",
    "prepare",
    "read_traces",
    "summarise",
    "token_nll",
]
