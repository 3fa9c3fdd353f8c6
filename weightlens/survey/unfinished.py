"""An analysis that was interrupted: what it leaves, and how another run goes on from there.

A partial report is an ordinary one with `partial: true` and a fingerprint: of the settings, and of
the names, sizes and times of the files of every model. A run with the same fingerprint takes the
matrices that are there as measured.
"""

import contextlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import xxhash

from weightlens.checkpoint.model import Model
from weightlens.factors.cache import cache_folder
from weightlens.hub import resolve
from weightlens.memory import keep_freed_blocks
from weightlens.record import write_whole
from weightlens.survey.opened import ModelLike
from weightlens.survey.resumable import Resumable
from weightlens.survey.work import Progress
from weightlens.version import VERSION

R = TypeVar("R", bound=Resumable)


class Analysis(ABC, Generic[R]):
    """A long work over the tensors of some models. fingerprint: as in its report."""

    fingerprint: str | None

    @abstractmethod
    def take(self, earlier: R) -> None:
        """Takes what an earlier run has left."""

    @abstractmethod
    def run(self, progress: Progress) -> None:
        """Does what is left to do."""

    @abstractmethod
    def report(self, *, partial: bool = False) -> R:
        """What is known so far."""


class Interrupted(KeyboardInterrupt, Generic[R]):
    """Ctrl-C while measuring. report: what was measured until then; file: where it was left."""

    def __init__(self, report: R, file: Path | None) -> None:
        super().__init__("interrupted")
        self.report, self.file = report, file

    def __str__(self) -> str:
        """What the user reads."""
        if self.file is None:
            return "interrupted"
        count = len(self.report.done())
        return f"interrupted; {count} tensors are in {self.file}: the same command goes on there"


@dataclass(frozen=True)
class Unfinished:
    """Where an interrupted run leaves its report and looks for it.

    target: the file that the report is wanted in; None for the cache's folder, where it is named
    by its fingerprint, and where it also goes if the target holds something else or is a pipe.
    """

    target: Path | None = None

    def find(self, kind: type[R], wanted: str | None) -> R | None:
        """The partial report with this fingerprint, if there is one."""
        if wanted is None:
            return None
        try:
            report = kind.from_file(self._file(wanted))
        except (OSError, ValueError):
            return None
        return report if report.partial and report.fingerprint == wanted else None

    def leave(self, report: Resumable) -> Path | None:
        """Writes a partial report; None where there is nothing to keep, no way to know it, or no
        place to write it."""
        if report.fingerprint is None or not report.done():
            return None
        file = self._file(report.fingerprint).resolve()
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            write_whole(file, report.to_json())
        except OSError:
            return None
        return self._file(report.fingerprint)

    def forget(self, finished: str | None) -> None:
        """Removes what an earlier run has left in the cache's folder."""
        if finished is not None and self._file(finished) != self.target:
            with contextlib.suppress(OSError):
                self._file(finished).unlink(missing_ok=True)

    def _file(self, name: str) -> Path:
        if self.target is not None and (not self.target.exists() or _is_partial(self.target)):
            return self.target
        return unfinished_folder() / f"{name}.json"


def _is_partial(file: Path) -> bool:
    """Whether a file holds what an interrupted run has left, and nothing of value otherwise."""
    try:
        held = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None
    except (OSError, ValueError):
        return False
    return isinstance(held, dict) and held.get("partial") is True and "fingerprint" in held


def carried_out(
    analysis: Analysis[R], kind: type[R], unfinished: Unfinished | None, progress: Progress
) -> R:
    """The whole report, from where an interrupted run stopped. Raises Interrupted on Ctrl-C."""
    keep_freed_blocks()
    earlier = unfinished.find(kind, analysis.fingerprint) if unfinished else None
    if earlier is not None:
        analysis.take(earlier)
    try:
        analysis.run(progress)
    except KeyboardInterrupt:
        report = analysis.report(partial=True)
        raise Interrupted(report, unfinished.leave(report) if unfinished else None) from None
    if unfinished is not None:
        unfinished.forget(analysis.fingerprint)
    return analysis.report()


def fingerprint(models: Sequence[ModelLike | None], settings: Mapping[str, object]) -> str | None:
    """Of models and settings; None where a model has no files to tell by: a state dict."""
    facts: list[object] = [VERSION, sorted(settings.items())]
    for model in models:
        if isinstance(model, Mapping | Model):
            return None
        if model is None:  # no control: not the same as one fine-tune fewer
            facts.append(None)
        else:
            at = resolve(str(model))
            facts.append([at.label, *(_files(folder) for folder in at.folders)])
    return xxhash.xxh3_128_hexdigest(json.dumps(facts, default=str).encode())


def unfinished_folder() -> Path:
    """Where interrupted analyses lie that were given no file of their own."""
    return cache_folder() / "unfinished"


def _files(folder: Path) -> list[tuple[str, int, int]]:
    found = []
    for file in sorted(folder.iterdir()):
        if file.suffix in (".safetensors", ".bin", ".json"):
            with contextlib.suppress(OSError):  # a link that leads nowhere
                status = file.stat()
                found.append((file.name, status.st_size, status.st_mtime_ns))
    return found
