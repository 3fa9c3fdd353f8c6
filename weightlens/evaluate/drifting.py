"""The drift of every model of a run from its first, kept trace by trace so that a run can go on."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from weightlens.errors import EvaluationError, OutputError
from weightlens.evaluate.chat import Chat, Loading, load_chat, placed_on
from weightlens.evaluate.drift import (
    Drift,
    Kind,
    Trace,
    TraceDrift,
    measure,
    prepare,
    read_traces,
    summarise,
)
from weightlens.evaluate.records import Identity, digest
from weightlens.evaluate.scored import Scored
from weightlens.evaluate.task import Task
from weightlens.hub import Resolved
from weightlens.record import write_whole

Result = TypeVar("Result")
Progress = Callable[[str, str, int, int], None]
"""Told the model, "drift", the traces that are done and their total."""


@dataclass(frozen=True)
class Member:
    """A model of the run, with the hash of its weights and of what lies beside them."""

    at: Resolved
    hash: str


def traces_of(scored: Sequence[Scored]) -> list[Trace]:
    """The first model's own first answers, thinking included; of refusal tasks as refusals.

    Answers of private tasks, of which there are only hashes, and empty ones are left out.
    """
    return [
        Trace(prompt=draw.prompt, answer=draw.raw, kind=_kind(part.task),
              id=f"{part.task.name}/{draw.question}")
        for part in scored
        if not part.task.private
        for draw in part.draws
        if draw.draw == 0 and draw.raw.strip()
    ]  # fmt: skip


def given_traces(file: Path | None, scored: Sequence[Scored]) -> list[Trace]:
    """The traces of a file, or else `traces_of`. Raises EvaluationError where there are none."""
    if file is not None:
        return read_traces(file)
    found = traces_of(scored)
    if not found:
        raise EvaluationError(
            "drift is measured on answers: name tasks or a suite beside it, whose answers by the "
            "first model are then read, or a file of answers (--traces FILE)"
        )
    return found


def drifts(
    models: Sequence[Member],
    traces: Sequence[Trace],
    loading: Loading,
    *,
    out: Path | None = None,
    progress: Progress = lambda model, task, done, total: None,
) -> list[Drift]:
    """How far each model but the first has moved from the first on the same answers.

    In float32 unless another precision is asked for: in 16 bits rounding alone moves the logits.
    """
    if loading.dtype == "auto":
        loading = replace(loading, dtype="float32")
    first, *others = models
    base: Chat | None = None
    found = []
    for other in others:
        kept = _Kept(out, _identity(first, other, traces, loading))
        if (finished := kept.finished()) is not None:
            names = {"base": first.at.label, "model": other.at.label}  # may have changed since
            found.append(finished.model_copy(update=names))
            continue
        base = base or _loaded(first, loading)
        probe = prepare(base, _loaded(other, loading), traces)
        for one in measure(
            probe, done=kept.done.keys(), progress=partial(progress, other.at.label, "drift")
        ):
            kept.add(one)
        drift = summarise(
            first.at.label,
            other.at.label,
            [kept.done[trace.id] for trace in traces if trace.id in kept.done],
            unit=probe.unit,
            left_out=probe.left_out,
            notes=probe.notes,
        )
        kept.finish(drift)
        found.append(drift)
    return found


class _Kept:
    """What is measured already: a line a trace while it goes on, then the whole result."""

    def __init__(self, folder: Path | None, identity: Identity) -> None:
        self.done: dict[str, TraceDrift] = {}
        self._stem = None if folder is None else folder / f"drift.{digest(identity)}"
        if self._stem is not None:
            self._guarded(self._lines, self._read)

    def finished(self) -> Drift | None:
        """The whole result, under the names that the models had then; None where it is not there.
        Raises EvaluationError where it is damaged."""
        if self._stem is None or not self._whole.exists():
            return None
        return self._guarded(
            self._whole, lambda: Drift.model_validate_json(self._whole.read_bytes())
        )

    def add(self, one: TraceDrift) -> None:
        self.done[one.trace] = one
        if self._stem is not None:
            self._guarded(self._lines, lambda: self._append(one))

    def finish(self, drift: Drift) -> None:
        if self._stem is not None:
            self._guarded(self._whole, lambda: write_whole(self._whole, drift.to_json()))

    @property
    def _whole(self) -> Path:
        assert self._stem is not None
        return self._stem.with_name(self._stem.name + ".json")

    @property
    def _lines(self) -> Path:
        return self._whole.with_suffix(".jsonl")

    def _read(self) -> None:
        self._lines.parent.mkdir(parents=True, exist_ok=True)
        self._lines.touch()
        whole = self._lines.read_bytes().rpartition(b"\n")[0]
        for line in whole.splitlines():
            one = TraceDrift.model_validate_json(line)
            self.done[one.trace] = one
        with self._lines.open("r+b") as file:  # a line that a killed run did not finish
            file.truncate(len(whole) + 1 if whole else 0)

    def _append(self, one: TraceDrift) -> None:
        with self._lines.open("a", encoding="utf-8") as file:
            file.write(one.model_dump_json() + "\n")

    @staticmethod
    def _guarded(file: Path, use: Callable[[], Result]) -> Result:
        try:
            return use()
        except OSError as error:
            raise OutputError(f"{file}: cannot be read or written ({error.strerror})") from error
        except ValueError as error:
            raise EvaluationError(f"{file}: is damaged; remove it") from error


def _identity(first: Member, other: Member, traces: Sequence[Trace], loading: Loading) -> Identity:
    texts = json.dumps([trace.model_dump() for trace in traces], sort_keys=True)
    return {
        "base": first.hash,
        "model": other.hash,
        "traces": hashlib.sha256(texts.encode()).hexdigest(),
        "device": placed_on(loading).partition(":")[0],
        "dtype": loading.dtype,
        "chat_template": loading.chat_template,
    }


def _loaded(member: Member, loading: Loading) -> Chat:
    at = member.at
    return load_chat(at.path, adapters=at.adapters, label=at.label, loading=loading)


def _kind(task: Task) -> Kind:
    return "refusal" if task.metric.startswith("refusal_rate") else "reasoning"
