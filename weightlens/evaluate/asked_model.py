"""One model of a run: asked on every task, and on those of lm-eval, with its answers kept."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

from xxhash import xxh3_64

from weightlens.checkpoint.companions import companions
from weightlens.checkpoint.digests import content_hash
from weightlens.evaluate.asking import Asked, Speaker
from weightlens.evaluate.chat import Chat, Loading, load_chat, placed_on, precision
from weightlens.evaluate.chosen import Chosen
from weightlens.evaluate.lm_eval_tasks import (
    PREFIX,
    ask_lm_eval,
    lm_eval_version,
    scored_by_lm_eval,
)
from weightlens.evaluate.opening import BackendName, open_speaker
from weightlens.evaluate.plan import Ask, BatchPlan
from weightlens.evaluate.ranges import Count, check
from weightlens.evaluate.records import Answers, Identity, digest
from weightlens.evaluate.result import AnswersFile
from weightlens.evaluate.scored import Scored
from weightlens.evaluate.task import Split, Task
from weightlens.hub import Resolved

Progress = Callable[[str, str, int, int], None]
"""Told the model, the task, the draws that are done and their total."""


@dataclass(frozen=True)
class Settings:
    """How to ask.

    split: which questions. batch_size: prompts at a time, None for as many as fit. seed: of the
    run; every draw has a seed of its own from it.
    """

    split: Split = "test"
    batch_size: Count | None = None
    loading: Loading = field(default_factory=Loading)
    backend: BackendName = "static"
    seed: int = 0

    def __post_init__(self) -> None:
        check(self)


class AskedModel:
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
            self._keep(answers, asked.task.name, asked)
            return drawn(asked, answers)

    def scored_by_lm_eval(
        self, tasks: Sequence[str], limit: int | None, progress: Progress
    ) -> list[Scored]:
        """Its draws on tasks of lm-eval."""
        chat: Chat | None = None
        found = []
        for name in tasks:
            identity = self._asked_as() | {"task": name, "version": lm_eval_version(),
                                           "limit": limit}  # fmt: skip
            label = name.replace("/", "_")
            stem = f"{self.at.path.name}.{label}.{digest(identity)}"
            with Answers(self._out, stem, identity) as answers:
                if not answers.done:
                    progress(self.at.label, name, 0, 1)
                    chat = chat or self._chat()
                    began = time.monotonic()
                    draws = ask_lm_eval(
                        chat, name.removeprefix(PREFIX), limit=limit,
                        batch_size=self._settings.batch_size,
                    )  # fmt: skip
                    asks = tuple(Ask(draw.question, draw.draw) for draw in draws)
                    answers.set_plan(BatchPlan((asks,)))
                    answers.add(0, draws, time.monotonic() - began)
                progress(self.at.label, name, 1, 1)
                self._keep(answers, name)
                found.append(scored_by_lm_eval(name, [*answers.done.values()]))
        return found

    def _asked_as(self) -> Identity:
        """What answers depend on besides the task."""
        settings, template = self._settings, self._settings.loading.chat_template
        return {
            "weights": self.hash,
            "companions": companions_hash(self.at.path),
            "chat_template": None if template is None else xxh3_64(template.encode()).hexdigest(),
            "device": placed_on(settings.loading).partition(":")[0],
            "dtype": str(precision(self.at.path, settings.loading)).removeprefix("torch."),
        }

    def _identity(self, task: Task) -> Identity:
        return self._asked_as() | {
            "task": task.name,
            "version": task.version,
            "data": task.data,
            "split": self._settings.split,
            "sampling": asdict(task.sampling),
            "seed": self._settings.seed if task.sampling.temperature else None,
            "backend": self._settings.backend,
        }

    def _keep(self, answers: Answers, task: str, asked: Asked | None = None) -> None:
        """asked: None where the answers are of nothing else."""
        if answers.file is None:
            return
        entry = AnswersFile(
            model=self.at.label,
            task=task,
            file=answers.file.name,
            questions=None if asked is None else _listed(asked, self._settings.split),
            draws=None if asked is None else asked.draws,
        )
        self.files.append(entry)

    def _chat(self) -> Chat:
        at = self.at
        return load_chat(
            at.path, adapters=at.adapters, label=at.label, loading=self._settings.loading
        )

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


def asked_of(chosen: Chosen, settings: Settings) -> Asked:
    """What is wanted of a task. Raises EvaluationError for a split that it lacks."""
    questions = chosen.questions(settings.split)
    return Asked(chosen.task, questions, chosen.task.draws, settings.seed)


def _listed(asked: Asked, split: Split) -> tuple[str, ...] | None:
    """The ids of the questions; None where the task has no more, so that no run can ask others."""
    one_more = asked.task.questions(split, len(asked.questions) + 1)
    if len(one_more) == len(asked.questions):
        return None
    return tuple(question.id for question in asked.questions)


def drawn(asked: Asked, answers: Answers) -> Scored:
    """Every draw that was wanted, in the order of the questions."""
    return Scored(asked.task, tuple(answers.done[ask] for ask in asked.wanted))
