"""A merge made anew from the record that lies beside it, and compared with it tensor by tensor.

The record names the recipe, the seed, the Hub commit or the hash of every source, and the checksum
of every tensor that was written; weights are not needed.
"""

import json
import platform
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import torch

from weightlens.errors import CheckFailed, InputError, ModelNotFound
from weightlens.merge.documents import Documents
from weightlens.merge.engine import merge_documents
from weightlens.merge.foresight import StrPath, plan_documents
from weightlens.merge.ingredients import ingredients_of
from weightlens.merge.opening import check_places, placeable
from weightlens.merge.options import Options
from weightlens.merge.record import MergeReport, PlanReport, SourceRecord
from weightlens.merge.resolution import Resolution, parse_written
from weightlens.merge.verifying import differences, read_record
from weightlens.merge.written import Written
from weightlens.version import VERSION

_USUAL = Options()


def rebuild_merge(record: StrPath, out: StrPath, *, options: Options = _USUAL) -> MergeReport:
    """Merges as a record says: its recipe, its seed, its engine, the commits of its sources.

    record: a merge's weightlens.json. options: how the merge runs; seed and engine are the
    record's, and its places are needed for models that were local, by what the recipe or the card
    calls them. Raises what `run_merge` raises,
    InputError for a record that cannot be gone by, and CheckFailed, leaving what was made, where it
    is not the same.
    """
    record, out = Path(record), Path(out)
    wanted = _record(record)
    try:
        made = merge_documents(_read(wanted, record), out, _as_recorded(wanted, record, options))
    except ModelNotFound as error:
        raise ModelNotFound(f"{error}; say where it is by --source NAME=MODEL") from error
    _check_same(wanted, made, out)
    return made


def is_record(file: Path) -> bool:
    """Whether a file is gone by as a record: JSON, but for a recipe that is written as JSON."""
    if file.suffix != ".json":
        return False
    try:
        said = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return True
    return not (isinstance(said, dict) and "merge_method" in said)


def plan_rebuild(record: Path, out: Path | None, *, options: Options = _USUAL) -> list[PlanReport]:
    """What `rebuild_merge` would do, from headers alone. Raises InputError like it."""
    wanted = _record(record)
    return plan_documents(_read(wanted, record), out, _as_recorded(wanted, record, options))


def _as_recorded(wanted: MergeReport, record: Path, options: Options) -> Options:
    places = _places(wanted, record, options.places)
    return replace(options, seed=wanted.seed, engine=wanted.engine, places=places)


def _record(file: Path) -> MergeReport:
    found = read_record(file)
    if not isinstance(found, MergeReport):
        raise InputError(f"{file}: is of an adapter that was extracted, not of a merge")
    if not found.checksums:
        raise InputError(f"{file}: holds no checksums to compare with; run its recipe instead")
    return found


def _read(record: MergeReport, file: Path) -> Documents:
    def read(made: MergeReport) -> Resolution:
        return parse_written(Written(made.recipe, f"{file}: recipe"), lenient=True)

    return Documents({name: read(step) for name, step in record.steps.items()}, read(record))


def _sources(record: MergeReport) -> Iterator[SourceRecord]:
    yield from () if record.base is None else (record.base,)
    yield from record.sources
    yield from record.others
    for step in record.steps.values():
        yield from _sources(step)


def _pinned(record: MergeReport) -> dict[str, str]:
    """Models on the Hub at the commits that went in."""
    found = {}
    for source in _sources(record):
        terms = source.model.split("+")
        commits = (source.commit or "local").split("+")
        if len(terms) != len(commits):  # a path with a + in it: local anyway
            continue
        for term, commit in zip(terms, commits, strict=True):
            if commit != "local":
                found[term] = f"{term.partition('@')[0]}@{commit}"
    return found


def _places(record: MergeReport, file: Path, given: Mapping[str, str]) -> dict[str, str]:
    documents = _read(record, file)
    recipes = [*documents.steps.values(), documents.last]
    labels = {one.name: one.label for one in ingredients_of(record) if one.repo is None}
    check_places(given, [*placeable(recipes, documents.steps), *labels])
    return _pinned(record) | {labels.get(name, name): place for name, place in given.items()}


def _check_same(wanted: MergeReport, made: MergeReport, out: Path) -> None:
    """Raises CheckFailed, with what may be the cause."""
    differing = differences(wanted.checksums, made.checksums)
    if not differing:
        return
    hashes = {source.model: source.hash for source in _sources(made)}
    others = [s.model for s in _sources(wanted) if hashes.get(s.model, s.hash) != s.hash]
    causes = [f"{name} is not the model that went in" for name in dict.fromkeys(others)]
    if wanted.weightlens != VERSION:
        causes.append(f"it was made by weightlens {wanted.weightlens}, this is {VERSION}")
    if wanted.torch != torch.__version__:
        causes.append(f"it was made with torch {wanted.torch}, this is {torch.__version__}")
    if wanted.device != made.device:
        causes.append(f"it was made on {wanted.device}, this is {made.device}")
    if not causes:
        causes.append(
            "what works on whole matrices, as strip does, may round otherwise on another processor "
            f"(this is {platform.machine()}) or with another number of threads"
        )
    raise CheckFailed(f"{out}: is not the same merge: tensors: {differing}; {'; '.join(causes)}")
