"""Asks models, scores what they say, and compares each with the first."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from weightlens.errors import EvaluationError, OutputError
from weightlens.evaluate.asked_model import (
    AskedModel,
    Progress,
    Settings,
    asked_of,
    companions_hash,
    drawn,
)
from weightlens.evaluate.asking import Speaker
from weightlens.evaluate.backends.static import StaticBatching
from weightlens.evaluate.chat import Chat, placed_on
from weightlens.evaluate.chosen import Chosen, Wanted, choose
from weightlens.evaluate.drift import Drift
from weightlens.evaluate.drifting import Member, drifts, given_traces
from weightlens.evaluate.records import Answers
from weightlens.evaluate.result import EvalReport, ModelResult
from weightlens.evaluate.scored import Scored, compare_with_first
from weightlens.evaluate.task import Split, Task
from weightlens.hub import resolve
from weightlens.record import write_whole
from weightlens.version import VERSION

REPORT = "eval.json"
"""The report beside the answers."""

_BUILTIN = Wanted(suite="builtin")
_USUAL = Settings()


def evaluate_models(
    models: Sequence[str],
    *,
    wanted: Wanted = _BUILTIN,
    settings: Settings = _USUAL,
    out: Path | None = None,
    progress: Progress = lambda model, task, done, total: None,
) -> EvalReport:
    """Evaluates models one after the other and compares each with the first.

    models: folders, Hub ids or BASE+ADAPTER…. out: a folder for the report and the answers, one
    JSONL per model and task; an earlier run goes on there, and finished draws are not asked again.
    Raises EvaluationError for a model that cannot be asked, and for tasks that cannot.
    """
    if len(set(models)) != len(models):
        raise EvaluationError("a model is named twice")
    if wanted.drift and len(models) < 2:
        raise EvaluationError("drift is a second model's from the first; name two")
    chosen = choose(wanted)
    asked = [asked_of(one, settings) for one in chosen]
    found = [AskedModel(resolve(name), settings, out) for name in models]
    scored = {
        model.at.label: [
            *model.scored(asked, progress),
            *model.scored_by_lm_eval(wanted.lm_eval_tasks, wanted.changes.limit, progress),
        ]
        for model in found
    }
    drift = _drift(wanted, settings, found, scored, out, progress) if wanted.drift else []
    compared = compare_with_first(scored)
    report = EvalReport(
        weightlens=VERSION,
        suite=wanted.title,
        settings=_described(wanted, settings),
        models=[
            ModelResult(
                model=model.at.label,
                hash=model.hash,
                tasks=[result for part in scored[model.at.label] for result in part.results()],
            )
            for model in found
        ],
        pairs=compared.pairs,
        answers=[entry for model in found for entry in model.files],
        drift=drift,
        notes=[f"{one.task.name}: {n}" for one in chosen for n in one.notes] + compared.notes,
    )
    if out is not None:
        write_report(report, out)
    return report


def _drift(
    wanted: Wanted,
    settings: Settings,
    models: Sequence[AskedModel],
    scored: Mapping[str, Sequence[Scored]],
    out: Path | None,
    progress: Progress,
) -> list[Drift]:
    traces = given_traces(wanted.traces, scored[models[0].at.label])
    members = [Member(m.at, f"{m.hash}+{companions_hash(m.at.path)}") for m in models]
    return drifts(members, traces, settings.loading, out=out, progress=progress)


def write_report(report: EvalReport, folder: Path) -> None:
    """Keeps a report beside its answers. Raises OutputError."""
    try:
        write_whole(folder / REPORT, report.to_json())
    except OSError as error:
        raise OutputError(f"{folder / REPORT}: cannot be written ({error.strerror})") from error


def ask(
    chat: Chat, task: Task, split: Split = "test", *, limit: int | None = None, batch_size: int = 64
) -> Scored:
    """A model that is loaded already, and may go on being changed, on one task, in memory."""
    asked = asked_of(Chosen(task, limit), Settings(split))
    with Answers(None, "", {}) as answers:
        Speaker(chat.words, StaticBatching(chat), batch_size).ask(asked, answers)
        return drawn(asked, answers)


def _described(wanted: Wanted, settings: Settings) -> dict[str, Any]:
    """What was wanted, and how it was asked, as the report tells it."""
    return {
        "split": settings.split,
        **asdict(wanted.changes),
        "code": wanted.code,
        "seed": settings.seed,
        "backend": settings.backend,
        "batch_size": settings.batch_size,
        "device": placed_on(settings.loading),
        "dtype": settings.loading.dtype,
    }
