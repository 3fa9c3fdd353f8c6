"""Measured results as a card's `model-index`, in huggingface_hub's own classes."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from weightlens.evaluate.catalogue import hub_data
from weightlens.evaluate.result import TaskResult
from weightlens.report.card_subject import CardTrial

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

_TASK = "text-generation"
_QUALIFIED = re.compile(r"(\S+) \((.*)\)")
_TYPES = {"acc": "accuracy", "acc_norm": "accuracy"}
"""Metrics of lm-eval, by the name that the Hub's list has for them."""


def index_results(trials: Sequence[CardTrial]) -> "list[EvalResult]":
    """Every result of the card's model, with the value that the report has."""
    return [
        _entry(task, str(trial.report.settings.get("split") or "test"))
        for trial in trials
        for task in trial.own.tasks
    ]


def metric_type(metric: str) -> str:
    """accuracy, pass@1, refusal_rate …: a metric without what says how it was read."""
    plain = _QUALIFIED.fullmatch(metric)
    name = plain[1] if plain else metric
    return _TYPES.get(name, name)


def _entry(task: TaskResult, split: str) -> "EvalResult":
    from huggingface_hub import EvalResult

    return EvalResult(
        task_type=_TASK,
        task_name="Text generation",
        dataset_type=hub_data(task.task) or task.task,
        dataset_name=task.task,
        dataset_split=split,
        metric_type=metric_type(task.metric),
        metric_name=f"{task.metric}, {task.group}" if task.group else task.metric,
        metric_value=task.value,
        metric_args={
            "questions": task.n, "draws": task.draws,
            "ci95_low": task.ci95[0], "ci95_high": task.ci95[1],
        },
        verified=False,
    )  # fmt: skip
