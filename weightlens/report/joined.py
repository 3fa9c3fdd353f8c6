"""Overlap reports that can be read as one: of the same base, by subspaces of the same size."""

from collections.abc import Sequence

from weightlens.report.runs import Run
from weightlens.survey.result import Factorisations, OverlapReport


def joined(runs: Sequence[Run]) -> list[Run]:
    """Overlaps of one kind become one report with the models of all; other results stay apart."""
    found: dict[object, list[Run]] = {}
    for i, run in enumerate(runs):
        found.setdefault(_kind(run.report, i), []).append(run)
    return [group[0] if len(group) == 1 else _one(group) for group in found.values()]


def _kind(report: object, alone: int) -> object:
    if not isinstance(report, OverlapReport):
        return alone
    size = report.subspace
    return report.base, report.control, size.by, size.value, report.partial


def _one(runs: Sequence[Run]) -> Run:
    reports = [run.report for run in runs if isinstance(run.report, OverlapReport)]
    counts = [report.factorisations.model_dump() for report in reports]
    models = {model.model: model for report in reports for model in report.models}
    update = {
        "models": list(models.values()),
        "factorisations": Factorisations(**{k: sum(c[k] for c in counts) for k in counts[0]}),
    }
    return Run(runs[0].file, reports[0].model_copy(update=update))
