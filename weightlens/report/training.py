"""Checkpoints of a training run, in the order of their steps."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from weightlens.report.names import short_models
from weightlens.survey.result import ModelRecord


@dataclass(frozen=True)
class TrainingRun:
    """name: the folder of the run, None where there is only one run."""

    name: str | None
    steps: tuple[int, ...]
    models: tuple[ModelRecord, ...]


def training_runs(models: Sequence[ModelRecord]) -> list[TrainingRun]:
    """Runs of at least two checkpoints that know their step.

    All are one run, unless two have the same step: then those of one folder are.
    """
    known = [(model.step, model) for model in models if model.step is not None]
    if len({step for step, _ in known}) == len(known):
        return [_run(None, known)] if len(known) > 1 else []
    folders: dict[str, list[tuple[int, ModelRecord]]] = {}
    for step, model in known:
        folders.setdefault(_folder(model.model, step), []).append((step, model))
    runs = {folder: found for folder, found in folders.items() if len(found) > 1}
    names = short_models(list(runs))
    return [_run(name, found) for name, found in zip(names, runs.values(), strict=True)]


def _run(name: str | None, found: Sequence[tuple[int, ModelRecord]]) -> TrainingRun:
    ordered = sorted(found, key=lambda pair: pair[0])
    return TrainingRun(name, tuple(s for s, _ in ordered), tuple(m for _, m in ordered))


def _folder(model: str, step: int) -> str:
    """Where the run lies: the folder around `checkpoint-500`, and that of a model at its end."""
    whole = model.rstrip("/\\")
    return re.sub(rf"[/\\][^/\\]*(?<!\d){step}$", "", whole)
