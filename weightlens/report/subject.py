"""What a report is about: its merges, and which results of an evaluation are theirs.

A model of an evaluation is the merge, its base or one of its sources where the hashes of the
weights agree. Where one side has no hash their names have to do, and that is said; where names
agree and hashes do not, the results are of other weights, and that is said too.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from weightlens.checkpoint.digests import content_hash
from weightlens.checkpoint.weight_files import hashed_files
from weightlens.evaluate.result import EvalReport, ModelResult
from weightlens.merge.record import MergeReport, SourceRecord
from weightlens.report.matching import same_end, same_weights
from weightlens.report.runs import Run


@dataclass(frozen=True)
class Merged:
    """A merge that was read back. hash: of the weights beside its record, None without any."""

    file: Path
    report: MergeReport
    hash: str | None

    @property
    def folder(self) -> Path:
        """Where the merge lies."""
        return self.file.absolute().parent

    @property
    def name(self) -> str:
        """Of its folder."""
        return self.folder.name


@dataclass(frozen=True)
class Evaluated:
    """An evaluation that was read back. The answers that it names lie beside its file."""

    file: Path
    report: EvalReport


@dataclass(frozen=True)
class Trial:
    """How an evaluation names a merge and those that it was made of; None, or left out, for what
    was not asked. notes: what must be known of the match."""

    evaluated: Evaluated
    merge: str
    base: str | None
    sources: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def order(self) -> list[str]:
        """The evaluation's models: base, sources, merge, then all others."""
        known = [*([self.base] if self.base else []), *self.sources, self.merge]
        return [*known, *(m.model for m in self.evaluated.report.models if m.model not in known)]


@dataclass(frozen=True)
class Subject:
    """merges: each with its trial, None where no evaluation holds it. evaluations: all of them.
    rest: the other results. notes: what does not belong together."""

    merges: Sequence[tuple[Merged, Trial | None]]
    evaluations: Sequence[Evaluated]
    rest: Sequence[Run]
    notes: Sequence[str]


def subject_of(runs: Sequence[Run]) -> Subject:
    """Sorts results by what they are, and finds the evaluation of every merge.

    Reads the weights beside a merge, for their hash, where there is an evaluation to match.
    """
    evaluations = [Evaluated(r.file, r.report) for r in runs if isinstance(r.report, EvalReport)]
    merges = [
        Merged(r.file, r.report, _hash(r.file.absolute().parent) if evaluations else None)
        for r in runs
        if isinstance(r.report, MergeReport)
    ]
    notes: list[str] = []
    tried = []
    for merged in merges:
        trial, said = _first_trial(merged, evaluations)
        tried.append((merged, trial))
        notes += said
    rest = [r for r in runs if not isinstance(r.report, EvalReport | MergeReport)]
    return Subject(tried, evaluations, rest, notes)


def _hash(folder: Path) -> str | None:
    return content_hash(folder) if hashed_files(folder) else None


def _first_trial(
    merged: Merged, evaluations: Sequence[Evaluated]
) -> tuple[Trial | None, list[str]]:
    """The first evaluation that holds the merge; else why none does."""
    said = []
    for evaluated in evaluations:
        found = trial_of(merged, evaluated)
        if isinstance(found, Trial):
            return found, [*found.notes]
        said.append(found)
    return None, said


def trial_of(merged: Merged, evaluated: Evaluated) -> Trial | str:
    """The merge in an evaluation, or in a sentence why it is not there."""
    models = evaluated.report.models
    of_merge = [m for m in models if _is_merge(m, merged)]
    if not of_merge:
        return _not_there(merged, evaluated)
    merge = of_merge[0]
    others = [m for m in models if m.model != merge.model]
    base = next((m for m in others if _is_base(m, merged.report)), None)
    sources = [m for m in others if m != base and _is_source(m, merged.report)]
    notes = [*_unsure_of_merge(merge, merged, evaluated)]
    notes += [note for m in (base, *sources) if m for note in _unsure_of_source(m, merged.report)]
    return Trial(
        evaluated,
        merge.model,
        base.model if base else None,
        tuple(m.model for m in sources),
        tuple(notes),
    )


def _not_there(merged: Merged, evaluated: Evaluated) -> str:
    models = evaluated.report.models
    elsewhere = [m.model for m in models if m.hash and m.hash.endswith(f"+{merged.hash}")]
    if elsewhere:
        return (
            f"{evaluated.file}: {elsewhere[0]} is {merged.name} on another base than the merge's, "
            "so its scores are not taken for this merge's; evaluate it on its own."
        )
    namesakes = [m.model for m in models if same_end(m.model, merged.name)]
    if namesakes:
        return (
            f"{evaluated.file}: {namesakes[0]} has other weights than those that lie in "
            f"{merged.folder.name} now, so its scores are not taken for this merge's; evaluate it "
            "again."
        )
    asked = ", ".join(m.model for m in models)
    return f"{evaluated.file} does not hold the merge {merged.name}: it asked {asked}."


def _is_merge(model: ModelResult, merged: Merged) -> bool:
    if model.hash is not None and merged.hash is not None:
        return same_weights(model.hash, merged.hash, _hash_of(merged.report.base))
    return same_end(model.model, merged.name)


def _is_base(model: ModelResult, report: MergeReport) -> bool:
    return report.base is not None and _is(model, report.base, None)


def _is_source(model: ModelResult, report: MergeReport) -> bool:
    return any(_is(model, source, report.base) for source in report.sources)


def _is(model: ModelResult, source: SourceRecord, base: SourceRecord | None) -> bool:
    if model.hash is not None and source.hash is not None:
        return same_weights(model.hash, source.hash, _hash_of(base))
    return same_end(model.model, source.model)


def _hash_of(base: SourceRecord | None) -> str | None:
    return None if base is None else base.hash


def _unsure_of_merge(model: ModelResult, merged: Merged, evaluated: Evaluated) -> Iterator[str]:
    if model.hash is None or merged.hash is None:
        missing = "the evaluation has no hash of it" if model.hash is None else (
            "its weights are not beside its record")  # fmt: skip
        yield (
            f"{model.model} in {evaluated.file} is taken for the merge {merged.name} by its name "
            f"alone: {missing}."
        )


def _unsure_of_source(model: ModelResult, report: MergeReport) -> Iterator[str]:
    named = [s for s in (report.base, *report.sources) if s and same_end(model.model, s.model)]
    if model.hash is None or any(source.hash is None for source in named):
        yield f"{model.model} is taken for a model of the recipe by its name alone: no hash."
