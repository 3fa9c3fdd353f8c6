"""Asks models, scores what they say, and compares each with the first."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from xxhash import xxh3_64

from weightlens.checkpoint.companions import companions, content_hash
from weightlens.errors import EvaluationError, OutputError
from weightlens.evaluate.asking import Asked, Speaker
from weightlens.evaluate.backends.opening import BackendName, open_speaker
from weightlens.evaluate.backends.static import StaticBatching
from weightlens.evaluate.chat import Chat, Loading, placed_on, precision
from weightlens.evaluate.chosen import Chosen, Wanted, choose
from weightlens.evaluate.drift import Drift
from weightlens.evaluate.drifting import Member, drifts, given_traces
from weightlens.evaluate.records import Answers, Identity, digest
from weightlens.evaluate.result import AnswersFile, EvalReport, ModelResult
from weightlens.evaluate.scored import Scored, compare_with_first
from weightlens.evaluate.task import Split, Task
from weightlens.hub import Resolved, resolve
from weightlens.record import write_whole
from weightlens.version import VERSION

REPORT = "eval.json"
"""The report beside the answers."""

Progress = Callable[[str, str, int, int], None]
"""Told the model, the task, the draws that are done and their total."""


@dataclass(frozen=True)
class Settings:
    """How to ask.

    split: which questions. batch_size: prompts at a time, None for as many as fit. seed: of the
    run; every draw has a seed of its own from it.
    """

    split: Split = "test"
    batch_size: int | None = None
    loading: Loading = field(default_factory=Loading)
    backend: BackendName = "static"
    seed: int = 0


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
    asked = [_asked(one, settings) for one in chosen]
    found = [_Model(resolve(name), settings, out) for name in models]
    scored = {model.at.label: model.scored(asked, progress) for model in found}
    drift = _drift(wanted, settings, found, scored, out, progress) if wanted.drift else []
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
        pairs=compare_with_first(scored),
        answers=[entry for model in found for entry in model.files],
        drift=drift,
        notes=[f"{one.task.name}: {note}" for one in chosen for note in one.notes],
    )
    if out is not None:
        write_report(report, out)
    return report


def _drift(
    wanted: Wanted,
    settings: Settings,
    models: Sequence["_Model"],
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
    asked = _asked(Chosen(task, limit), Settings(split))
    with Answers(None, "", {}) as answers:
        Speaker(chat.words, StaticBatching(chat), batch_size).ask(asked, answers)
        return _scored(asked, answers)


class _Model:
    """One model of a run, loaded where the first draw is missing."""

    def __init__(self, at: Resolved, settings: Settings, out: Path | None) -> None:
        self.at, self._settings, self._out = at, settings, out
        self.hash = "+".join(content_hash(folder) for folder in at.folders)
        self.files: list[AnswersFile] = []
        self._speaker: Speaker | None = None

    def scored(self, asked: Sequence[Asked], progress: Progress) -> list[Scored]:
        """Its draws on every task; the model is let go after the last."""
        try:
            return [self._on(one, partial(progress, self.at.label, one.task.name)) for one in asked]
        finally:
            self._speaker = None

    def _on(self, asked: Asked, progress: Callable[[int, int], None]) -> Scored:
        identity = self._identity(asked.task)
        stem = f"{self.at.path.name}.{asked.task.name}.{digest(identity)}"
        with Answers(self._out, stem, identity) as answers:
            if not answers.has(asked.wanted):
                self._loaded().ask(asked, answers, progress)
            if answers.file is not None:
                self.files.append(
                    AnswersFile(model=self.at.label, task=asked.task.name, file=answers.file.name)
                )
            return _scored(asked, answers)

    def _identity(self, task: Task) -> Identity:
        settings, template = self._settings, self._settings.loading.chat_template
        return {
            "weights": self.hash,
            "companions": companions_hash(self.at.path),
            "chat_template": None if template is None else xxh3_64(template.encode()).hexdigest(),
            "task": task.name,
            "version": task.version,
            "data": task.data,
            "split": settings.split,
            "sampling": asdict(task.sampling),
            "seed": settings.seed if task.sampling.temperature else None,
            "backend": settings.backend,
            "device": placed_on(settings.loading).partition(":")[0],
            "dtype": str(precision(self.at.path, settings.loading)).removeprefix("torch."),
        }

    def _loaded(self) -> Speaker:
        if self._speaker is None:
            settings = self._settings
            self._speaker = open_speaker(
                self.at, settings.loading, settings.backend, settings.batch_size
            )
        return self._speaker


def companions_hash(folder: Path) -> str:
    """xxh3-64 of a model's config, tokenizer and chat template, and what else lies beside them."""
    digest = xxh3_64()
    for file in companions(folder):
        digest.update(file.name.encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _asked(chosen: Chosen, settings: Settings) -> Asked:
    questions = chosen.questions(settings.split)
    return Asked(chosen.task, questions, chosen.task.draws, settings.seed)


def _scored(asked: Asked, answers: Answers) -> Scored:
    return Scored(asked.task, tuple(answers.done[ask] for ask in asked.wanted))


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
