"""The models that went into a merge or an adapter, as its card may name them.

A model of the Hub is called by its id, a local one by the name of its folder: where that folder lay
is nobody's business.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from weightlens.errors import ModelNotFound
from weightlens.hub.card_file import CARD, card_file
from weightlens.hub.reference import repo_and_revision, terms
from weightlens.merge.extract_record import ExtractReport
from weightlens.merge.record import MergeReport, SourceRecord

Role = Literal["base", "source"]


@dataclass(frozen=True)
class Ingredient:
    """One model. name: what the card calls it; label: what the record does. repo, commit: on the
    Hub, None for a local folder. hash: of its weights."""

    name: str
    label: str
    role: Role
    repo: str | None
    commit: str | None
    hash: str | None

    def own_card(self) -> dict[str, Any] | None:
        """The metadata of its own card; None where there is no card to read."""
        file = Path(self.label, CARD) if self.repo is None else card_file(self.repo, self.commit)
        return None if file is None else read_metadata(file)


def read_metadata(file: Path) -> dict[str, Any] | None:
    """The YAML between the first two lines of --- of a card; None where there is none."""
    from huggingface_hub import metadata_load

    try:
        found = metadata_load(file)
    except (OSError, ValueError, yaml.YAMLError):
        return None
    return found if isinstance(found, dict) else None


def ingredients_of(record: MergeReport | ExtractReport) -> tuple[Ingredient, ...]:
    """Every model once, the base first; those of the steps that the recipe's file had, and not the
    steps themselves."""
    found: dict[tuple[str, str | None], Ingredient] = {}
    for role, source in _records(record):
        for label, commit, digest in _terms(source):
            if isinstance(record, MergeReport) and label in record.steps:
                continue
            repo = None if commit is None else repo_and_revision(label)[0]
            name = repo or Path(label).name or Path(label).resolve().name
            one = Ingredient(name, label, role, repo, commit, digest)
            found.setdefault((label, digest), one)
    return tuple(_told_apart(list(found.values())))


def _records(record: MergeReport | ExtractReport) -> Iterator[tuple[Role, SourceRecord]]:
    if isinstance(record, ExtractReport):
        yield "base", record.base
        yield "source", record.tuned
        return
    for report in (record, *record.steps.values()):
        if report.base is not None:
            yield "base", report.base
    for report in (*record.steps.values(), record):
        for source in report.sources:
            yield "source", source


def _terms(source: SourceRecord) -> Iterator[tuple[str, str | None, str | None]]:
    """The folders of a sum: label, commit and hash of each."""
    hashes = (source.hash or "").split("+")
    labels = [source.model] if len(hashes) == 1 else _split(source.model)
    if len(labels) != len(hashes):
        yield source.model, None, source.hash
        return
    commits = source.commit.split("+") if source.commit else ["local"] * len(labels)
    for label, commit, digest in zip(labels, commits, hashes, strict=True):
        yield label, None if commit == "local" else commit, digest or None


def _split(reference: str) -> list[str]:
    try:
        return terms(reference)
    except ModelNotFound:  # its folders have moved since
        return reference.split("+")


def _told_apart(found: Sequence[Ingredient]) -> Iterator[Ingredient]:
    """Two folders of one name are numbered."""
    taken: set[str] = set()
    for one in found:
        name, number = one.name, 2
        while name in taken:
            name, number = f"{one.name}-{number}", number + 1
        taken.add(name)
        yield Ingredient(name, one.label, one.role, one.repo, one.commit, one.hash)
