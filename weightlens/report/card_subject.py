"""What a card is about: a folder with its record, and which results are its own."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from weightlens.checkpoint.adapter import is_adapter
from weightlens.checkpoint.digests import content_hash
from weightlens.errors import InputError
from weightlens.evaluate.result import EvalReport, ModelResult
from weightlens.merge.extract_record import ExtractReport
from weightlens.merge.ingredients import Ingredient, ingredients_of
from weightlens.merge.record import MergeReport
from weightlens.report.matching import same_place, same_weights
from weightlens.report.runs import Run, read_run
from weightlens.survey.result import ModelRecord, OverlapReport

RECORD = "weightlens.json"


@dataclass(frozen=True)
class CardSubject:
    """A finished merge or extracted adapter. title: what its card calls it."""

    folder: Path
    title: str
    record: MergeReport | ExtractReport
    ingredients: tuple[Ingredient, ...]

    @property
    def is_adapter(self) -> bool:
        """Whether it is a LoRA adapter, to be loaded onto its base."""
        return is_adapter(self.folder)

    @property
    def base(self) -> Ingredient | None:
        """The model that the others are fine-tunes of."""
        return next((one for one in self.ingredients if one.role == "base"), None)

    @property
    def sources(self) -> list[Ingredient]:
        """All the others."""
        return [one for one in self.ingredients if one.role == "source"]

    @property
    def base_hash(self) -> str | None:
        """Of the weights that an adapter is loaded onto; of a sum, all its hashes."""
        recorded = self.record.base or self.base
        return None if recorded is None else recorded.hash

    @cached_property
    def hash(self) -> str:
        """Of its weights, as an evaluation writes it down. Reads them all."""
        return content_hash(self.folder)

    def is_at(self, reference: str) -> bool:
        """Whether a model reference is this folder, or this adapter on a model."""
        end = reference.rpartition("+")[2] if self.is_adapter else reference
        return any(Path(name).resolve() == self.folder.resolve() for name in (reference, end))


@dataclass(frozen=True)
class CardTrial:
    """An evaluation that holds the subject. own: what it calls it; names: of all its models, what
    the card calls them: the subject first, where a narrow screen shows it, then base, sources and
    others."""

    report: EvalReport
    own: ModelResult
    names: dict[str, str]


@dataclass(frozen=True)
class Measured:
    """An overlap report's models that concern the subject, by what the card calls them."""

    report: OverlapReport
    models: dict[str, ModelRecord]


def read_subject(folder: Path, title: str | None = None) -> CardSubject:
    """Raises InputError for a folder that no merge or extraction has finished."""
    file = folder / RECORD
    if not file.is_file():
        unfinished = folder.name.endswith(".partial")
        raise InputError(
            f"{folder}: holds no {RECORD}"
            + ("; the merge that fills it is not finished" if unfinished else "")
            + "; a card is written for the output of weightlens merge or extract"
        )
    run = read_run(file)
    if run is None or not isinstance(run.report, MergeReport | ExtractReport):
        raise InputError(f"{file}: is no record of a merge or of an extracted adapter")
    found = ingredients_of(run.report)
    return CardSubject(folder, title or folder.resolve().name, run.report, found)


def card_trial(subject: CardSubject, run: Run, report: EvalReport) -> CardTrial:
    """Finds the subject in an evaluation. Raises InputError where it is not there, or was asked
    when it had other weights."""
    own = next((m for m in report.models if _is_subject(subject, m)), None)
    if own is None:
        changed = [m.model for m in report.models if subject.is_at(m.model)]
        if changed:
            raise InputError(
                f"{run.file}: {changed[0]} had other weights when it was asked; evaluate again"
            )
        asked = ", ".join(m.model for m in report.models)
        raise InputError(
            f"{run.file}: these are results of other models ({asked}); none has the weights of "
            f"{subject.folder}"
        )
    roles = {m.model: _ingredient(subject, m) for m in report.models if m is not own}
    known = {label: one.name for label, one in roles.items() if one is not None}
    others = {label: _plain(label) for label, one in roles.items() if one is None}
    ordered = sorted(
        known, key=lambda label: [i.name for i in subject.ingredients].index(known[label])
    )
    names = {own.model: subject.title} | {label: known[label] for label in ordered} | others
    return CardTrial(report, own, names)


def measured_of(subject: CardSubject, run: Run, report: OverlapReport) -> Measured:
    """Finds the subject and its sources in an overlap report. Raises InputError for a control, and
    where none of them is there or the base is another one."""
    if report.control is not None:
        raise InputError(f"{run.file}: is a control against {report.control}; leave it out")
    base = subject.base
    if base is None or not same_place(report.base, base.label):
        raise InputError(f"{run.file}: was measured against {report.base}, which is not the base "
                         f"of {subject.folder}")  # fmt: skip
    models: dict[str, ModelRecord] = {}
    for model in report.models:
        end = model.model.removeprefix(f"{report.base}+")
        for one in subject.sources:
            if same_place(model.model, one.label) or same_place(end, one.label):
                models[one.name] = model
        if subject.is_at(model.model):
            models[subject.title] = model
    if not models:
        raise InputError(f"{run.file}: holds neither {subject.folder} nor a model that went in")
    return Measured(report, models)


def _is_subject(subject: CardSubject, model: ModelResult) -> bool:
    if model.hash is None:
        return subject.is_at(model.model)
    return same_weights(model.hash, subject.hash, subject.base_hash)


def _ingredient(subject: CardSubject, model: ModelResult) -> Ingredient | None:
    """The model that went in which an evaluation asked: by its weights, and as one that shares
    them by its name; without hashes by its name alone."""
    named = [one for one in subject.ingredients if same_place(model.model, one.label)]
    if model.hash is None:
        return named[0] if named else None
    same = [
        one
        for one in subject.ingredients
        if one.hash is not None and same_weights(model.hash, one.hash, subject.base_hash)
    ]
    return next((one for one in same if one in named), same[0] if same else None)


def _plain(label: str) -> str:
    """What a model is called of which nothing else is known."""
    parts = [part if not Path(part).exists() else Path(part).name for part in label.split("+")]
    return "+".join(part if part.count("/") == 1 else part.rpartition("/")[2] for part in parts)


def sort_results(
    subject: CardSubject, runs: Sequence[Run]
) -> tuple[list[CardTrial], list[Measured]]:
    """The evaluations and overlap reports among results.

    Raises InputError for one that concerns another model, and for results that no card shows.
    """
    trials, measured = [], []
    for run in _concerning(subject, runs):
        if isinstance(run.report, EvalReport):
            trials.append(card_trial(subject, run, run.report))
        elif isinstance(run.report, OverlapReport):
            measured.append(measured_of(subject, run, run.report))
        else:
            raise InputError(
                f"{run.file}: a card shows results of eval and overlap, not of {run.kind}"
            )
    return trials, measured


def _concerning(subject: CardSubject, runs: Sequence[Run]) -> Iterator[Run]:
    """All but the subject's own record, which lies beside results that were kept in its folder."""
    return (run for run in runs if run.file.resolve() != (subject.folder / RECORD).resolve())
