"""`--fail-above METRIC=VALUE`: limits on a report's means, for use in CI."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from weightlens.errors import CheckFailed, InputError
from weightlens.survey.result import Mean, OverlapReport

_SHORT = {side: f"{side}_by_energy" for side in ("column", "row", "both")}
METRICS = (*_SHORT, *(name for name in Mean.model_fields if name not in (*_SHORT, "matrices")))
"""What a limit can be set on: means over all matrices, weighted by energy where nothing is said."""


@dataclass(frozen=True)
class Limit:
    """The largest value that a metric may have."""

    metric: str
    value: float


def parse_limit(text: str) -> Limit:
    """From METRIC=VALUE. Raises InputError with the metrics that there are."""
    metric, _, value = text.partition("=")
    if metric not in METRICS:
        raise InputError(f"--fail-above {text}: no such metric; there are {', '.join(METRICS)}")
    try:
        limit = float(value)
    except ValueError:
        limit = math.nan
    if not math.isfinite(limit):
        raise InputError(f"--fail-above {text}: {value!r} is no number")
    return Limit(metric, limit)


def check_limits(report: OverlapReport, limits: Sequence[Limit]) -> None:
    """Raises CheckFailed where a model's mean is above its limit; a mean of nothing passes."""
    failures = []
    for model in report.models:
        for limit in limits:
            field = _SHORT.get(limit.metric, limit.metric)
            value = getattr(model.summary.all, field)
            if value is not None and not value <= limit.value:
                failures.append(f"{field} of {model.model} is {value:.4g}, above {limit.value:g}")
    if failures:
        raise CheckFailed("; ".join(failures))
