"""Results that commands left on disk, read back by what they say of themselves."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from weightlens.errors import InputError
from weightlens.evaluate.result import EvalReport
from weightlens.merge.extract_record import ExtractReport
from weightlens.merge.record import MergeReport
from weightlens.report.story import Story
from weightlens.survey.compare import CompareReport
from weightlens.survey.result import OverlapReport

Report = OverlapReport | CompareReport | MergeReport | ExtractReport | EvalReport | Story

_KINDS: dict[str, type[Report]] = {
    "weightlens.overlap/1": OverlapReport,
    "weightlens.compare/1": CompareReport,
    "weightlens.merge/1": MergeReport,
    "weightlens.extract/1": ExtractReport,
    "weightlens.eval/1": EvalReport,
    "weightlens.demo/1": Story,
}

_ASIDE = {"weightlens.plan/1", "weightlens.inspect/1", "weightlens.methods/1", "weightlens.cache/1",
          "weightlens.card/1"}  # fmt: skip
"""Files of ours that hold no result: an evaluation keeps its plans beside its answers."""


@dataclass(frozen=True)
class Run:
    """One result. file: where it was read from; answers and weights lie beside it."""

    file: Path
    report: Report

    @property
    def kind(self) -> str:
        """The command that made it: overlap, compare, merge, extract, eval or demo."""
        return self.report.schema_.removeprefix("weightlens.").partition("/")[0]


def read_run(file: Path) -> Run | None:
    """A JSON file of ours; None where it is another's.

    Raises InputError for one of ours that cannot be read: damaged, or of another version.
    """
    try:
        held = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror})") from error
    except ValueError:
        return None
    schema = held.get("schema") if isinstance(held, dict) else None
    if not isinstance(schema, str) or not schema.startswith("weightlens."):
        return None
    if schema in _ASIDE:
        return None
    if schema not in _KINDS:
        raise InputError(f"{file}: {schema} is no result that can be shown")
    try:
        return Run(file, _KINDS[schema].model_validate(held))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise InputError(f"{file}: {place}: {first['msg']}") from error


def read_runs(paths: Sequence[Path]) -> list[Run]:
    """The results that files hold, and those directly in folders. Raises InputError where there is
    nothing of ours."""
    found = []
    for path in paths:
        if not path.exists():
            raise InputError(f"{path}: there is no such file or folder")
        here = [run for file in _files(path) if (run := read_run(file)) is not None]
        if not here:
            raise InputError(
                f"{path}: no result of weightlens; name a merge's folder, an --out of eval, "
                "or a --json of overlap, compare or eval"
            )
        found += here
    return found


def find_runs(folder: Path) -> Iterator[Run]:
    """All results in a folder and below, those of hidden and unfinished folders aside."""
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.name.endswith((".partial", ".steps")):
            continue
        if path.is_dir():
            yield from find_runs(path)
        elif path.suffix == ".json" and (run := read_run(path)) is not None:
            yield run


def _files(path: Path) -> list[Path]:
    return sorted(path.glob("*.json")) if path.is_dir() else [path]
