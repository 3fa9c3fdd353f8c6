"""Results that commands left on disk, read back by what they say of themselves."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pydantic import ValidationError

from weightlens.errors import InputError
from weightlens.evaluate.result import EvalReport
from weightlens.merge.extract_record import ExtractReport
from weightlens.merge.record import MergeReport
from weightlens.report.story import Story
from weightlens.survey.compare_result import CompareReport
from weightlens.survey.result import OverlapReport

Report = OverlapReport | CompareReport | MergeReport | ExtractReport | EvalReport | Story

_BEGINNING = 4096
"""Bytes: a result names its schema first, so that of other JSON no more than this is read."""

_KINDS: dict[str, type[Report]] = {
    "weightlens.overlap/1": OverlapReport,
    "weightlens.compare/1": CompareReport,
    "weightlens.merge/1": MergeReport,
    "weightlens.extract/1": ExtractReport,
    "weightlens.eval/1": EvalReport,
    "weightlens.demo/1": Story,
}
_NAMES = frozenset(schema.partition("/")[0] for schema in _KINDS)

_ASIDE = {"weightlens.plan/1", "weightlens.inspect/1", "weightlens.methods/1", "weightlens.cache/1",
          "weightlens.card/1"}  # fmt: skip
"""Files of ours that hold no result: an evaluation keeps its plans beside its answers."""


@dataclass(frozen=True)
class Run:
    """One result. file: where it was read from; answers and weights lie beside it."""

    file: Path
    report: Report

    @property
    def when(self) -> datetime:
        """When it was written, by the clock of this machine."""
        return datetime.fromtimestamp(self.file.stat().st_mtime)

    @property
    def kind(self) -> str:
        """The command that made it: overlap, compare, merge, extract, eval or demo."""
        return self.report.schema_.removeprefix("weightlens.").partition("/")[0]


@dataclass(frozen=True)
class Listing:
    """What a folder holds. unreadable: a sentence for every result of ours that is damaged."""

    runs: list[Run]
    unreadable: list[str]


def read_run(file: Path) -> Run | None:
    """A JSON file of ours; None where it is another's, or no result (a plan, an inspection).

    Raises InputError for a result that cannot be read: damaged, or of another version.
    """
    try:
        held = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror})") from error
    except ValueError:
        return None
    schema = held.get("schema") if isinstance(held, dict) else None
    if not isinstance(schema, str) or schema.partition("/")[0] not in _NAMES:
        return None
    if schema in _ASIDE:
        return None
    if schema not in _KINDS:
        raise InputError(f"{file}: {schema} is of another version of weightlens; write it again")
    try:
        return Run(file, _KINDS[schema].model_validate(held))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise InputError(f"{file}: {place}: {first['msg']}") from error


def read_runs(paths: Sequence[Path]) -> list[Run]:
    """The results that files hold, and those directly in folders; each once, in their order.

    Raises InputError where there is nothing of ours.
    """
    found: dict[Path, Run] = {}
    for path in paths:
        if not path.exists():
            raise InputError(f"{path}: there is no such file or folder")
        files = _results_in(path) if path.is_dir() else [path]
        here = [run for file in files if (run := read_run(file)) is not None]
        if not here:
            raise InputError(
                f"{path}: no result of weightlens; name a merge's folder, an --out of eval, "
                "or a --json of overlap, compare or eval"
            )
        found |= {run.file.resolve(): run for run in here}
    return list(found.values())


def find_runs(folder: Path) -> Listing:
    """All results in a folder and below, those of hidden and unfinished folders aside.

    Raises InputError where there is no such folder.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: there is no such folder")
    listing = Listing([], [])
    for file in _below(folder):
        try:
            run = read_run(file)
        except InputError as error:
            listing.unreadable.append(str(error))
        else:
            listing.runs.extend([run] if run else [])
    return listing


def _below(folder: Path) -> Iterator[Path]:
    yield from _results_in(folder)
    try:
        inside = sorted(path for path in folder.iterdir() if path.is_dir())
    except OSError:  # of somebody else
        return
    for path in inside:
        unfinished = path.name.endswith((".partial", ".steps"))
        # a link could lead back to where it lies
        if not (unfinished or path.name.startswith(".") or path.is_symlink()):
            yield from _below(path)


def _results_in(folder: Path) -> list[Path]:
    try:
        return sorted(file for file in folder.glob("*.json") if _names_schema(file))
    except OSError:
        return []


def _names_schema(file: Path) -> bool:
    try:
        with file.open("rb") as stream:
            return b'"weightlens.' in stream.read(_BEGINNING)
    except OSError:
        return False
