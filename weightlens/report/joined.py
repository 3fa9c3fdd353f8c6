"""Overlap reports that can be read as one: of the same base, by subspaces of the same size."""

from collections.abc import Sequence

from weightlens.report.runs import Run
from weightlens.survey.result import Factorisations, ModelRecord, OverlapReport


def joined(runs: Sequence[Run]) -> list[Run]:
    """Overlaps of one kind become one report with the models of all; other results stay apart, and
    so does an overlap that measured a model of an earlier one anew: on other matrices, say."""
    groups: list[list[Run]] = []
    for run in runs:
        home = next((group for group in groups if _fits(run, group)), None)
        if home is None:
            groups.append([run])
        else:
            home.append(run)
    return [group[0] if len(group) == 1 else _one(group) for group in groups]


def _fits(run: Run, group: Sequence[Run]) -> bool:
    """Whether a report is of the kind of others, and gives no model of theirs other numbers."""
    report, first = run.report, group[0].report
    if not (isinstance(report, OverlapReport) and isinstance(first, OverlapReport)):
        return False
    known = {model.model: model for model in _models(group)}
    same = all(known.get(model.model, model) == model for model in report.models)
    return same and _kind(report) == _kind(first)


def _kind(report: OverlapReport) -> tuple[object, ...]:
    size = report.subspace
    return report.base, report.control, size.by, size.value, report.partial


def _one(runs: Sequence[Run]) -> Run:
    reports = [run.report for run in runs if isinstance(run.report, OverlapReport)]
    counts = [report.factorisations.model_dump() for report in reports]
    update = {
        "models": _models(runs),
        "factorisations": Factorisations(**{k: sum(c[k] for c in counts) for k in counts[0]}),
    }
    return Run(runs[0].file, reports[0].model_copy(update=update))


def _models(runs: Sequence[Run]) -> list[ModelRecord]:
    """Each once: of those of one name all are alike."""
    reports = [run.report for run in runs if isinstance(run.report, OverlapReport)]
    return list({model.model: model for report in reports for model in report.models}.values())
