"""The model card of a merge or an extracted adapter: README.md and its picture, in its folder.

    what it is · is it any good · what was stripped · recipe · what went in · how to use it ·
    how to make it again · limits

on top of metadata that the Hub reads. A card that was edited is never overwritten unasked.
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from weightlens.errors import OutputError
from weightlens.hub.card_file import CARD
from weightlens.merge.extract_record import ExtractReport
from weightlens.merge.ingredients import Ingredient
from weightlens.record import write_whole
from weightlens.report.card_about import limits, paragraphs, went_in
from weightlens.report.card_metadata import as_yaml, metadata_of
from weightlens.report.card_overlap import PICTURE, overlaps
from weightlens.report.card_paths import without_paths
from weightlens.report.card_picture import is_own_picture, picture_of
from weightlens.report.card_scores import scores
from weightlens.report.card_seal import sealed, state_of
from weightlens.report.card_subject import CardSubject, read_subject, sort_results
from weightlens.report.card_usage import reproduction, usage
from weightlens.report.card_words import fenced
from weightlens.report.licences import Derived, Licence, derived, of_card
from weightlens.report.runs import read_runs

_HEAD = 512
_LONGEST = 96
_SOMEWHERE = "OWNER"
"""In the place of an owner, where nobody said where the model will lie on the Hub."""


@dataclass(frozen=True)
class Draft:
    """A card that is not on the disk yet. picture: a PNG, None where there is nothing to draw.
    warnings: what its author should know."""

    text: str
    picture: bytes | None
    licence: Licence
    warnings: tuple[str, ...]


def write_card(
    folder: str | PathLike[str],
    *,
    results: Sequence[Path] = (),
    licence: Licence | None = None,
    title: str | None = None,
    repo: str | None = None,
    force: bool = False,
) -> Path:
    """Writes the card of a finished merge, or of an extracted adapter; returns its file.

    The rest is as for `draft_card` and `save_card`, which raise.
    """
    folder = Path(folder)
    draft = draft_card(folder, results=results, licence=licence, title=title, repo=repo)
    return save_card(folder, draft, force=force)


def draft_card(
    folder: Path,
    *,
    results: Sequence[Path] = (),
    licence: Licence | None = None,
    title: str | None = None,
    repo: str | None = None,
) -> Draft:
    """The card as it would be written.

    results: files and folders with results of `weightlens eval` and `weightlens overlap` that hold
    this model. licence: in the place of the one that follows from the models that went in. title:
    the model's name, else that of the repo or of the folder. repo: where it will lie on the Hub.

    Raises InputError for a folder that is no finished output, for results of another model, and
    for a record that holds a token of the Hub.
    """
    subject = read_subject(folder, title or (repo.rpartition("/")[2] if repo else None))
    trials, measured = sort_results(subject, read_runs(results))
    cards = {one.name: one.own_card() for one in subject.ingredients}
    found = _licence(subject, cards, licence)
    picture = picture_of(subject, measured)
    place = repo or f"{_SOMEWHERE}/{_slug(subject.title)}"
    sections = {
        "": "\n\n".join(paragraphs(subject, found)),
        "Is it any good?": scores(subject, trials),
        _overlap_title(subject): overlaps(subject, measured, bool(picture)),
        "Recipe": _recipe(subject),
        "What went in": went_in(subject),
        "How to use it": usage(subject, place),
        "How to make it again": reproduction(subject, place),
        "Limits": (f"- {line}" for line in limits(subject, trials)),
    }
    body = "\n\n".join(_section(title, lines) for title, lines in sections.items())
    text = without_paths(f"# {subject.title}\n\n{body}", subject)
    data = as_yaml(metadata_of(subject, cards, found.licence, trials))
    return Draft(
        sealed(f"---\n{data}\n---\n\n{text}"),
        picture,
        found.licence,
        tuple(_warnings(subject, found)),
    )


def _slug(title: str) -> str:
    """A title as the name of a repo may be written: 96 characters with its owner."""
    plain = re.sub(r"[^A-Za-z0-9._]+|[.-]{2,}", "-", title)[: _LONGEST - len(_SOMEWHERE) - 1]
    return re.sub(r"(\.git)+$", "", plain.strip("-.")) or "MODEL"


def save_card(folder: Path, draft: Draft, *, force: bool = False) -> Path:
    """Puts a card and its picture into the folder, each whole or as it was before.

    force: also over a card that was edited, or that weightlens did not write. Raises OutputError
    for such a one without it, and where the folder cannot be written.
    """
    card, picture = folder / CARD, folder / PICTURE
    reason = None if force else in_the_way(folder)
    if reason is not None:
        raise OutputError(f"{reason}; --force writes over it")
    try:
        if draft.picture is not None:
            beside = picture.with_name(f"{picture.name}.{os.getpid()}.partial")
            beside.write_bytes(draft.picture)
            os.replace(beside, picture)
        write_whole(card, draft.text)
    except OSError as error:
        raise OutputError(f"{card}: cannot be written ({error.strerror})") from error
    return card


def in_the_way(folder: Path) -> str | None:
    """Why a card may not be written unasked; None where it may."""
    card, picture = folder / CARD, folder / PICTURE
    match state_of(card):
        case "edited":
            return f"{card}: was edited since weightlens wrote it"
        case "foreign":
            return f"{card}: was not written by weightlens"
        case "absent" if picture.exists() and not is_own_picture(_head(picture)):
            return f"{picture}: was not drawn by weightlens"
    return None


def _head(file: Path) -> bytes:
    with file.open("rb") as stream:
        return stream.read(_HEAD)


def _licence(
    subject: CardSubject, cards: Mapping[str, Mapping[str, Any] | None], licence: Licence | None
) -> Derived:
    if licence is not None:
        return Derived(licence, "as its author says")
    found = {one.name: _reachable(of_card(cards[one.name]), one) for one in subject.ingredients}
    return derived(found)


def _reachable(licence: Licence | None, one: Ingredient) -> Licence | None:
    """The licence with a link that leads somewhere from another repo too."""
    if licence is None or licence.link is None or "://" in licence.link or one.repo is None:
        return licence
    from huggingface_hub.constants import ENDPOINT

    link = f"{ENDPOINT}/{one.repo}/blob/{one.commit or 'main'}/{licence.link}"
    return Licence(licence.id, licence.name, link)


def _recipe(subject: CardSubject) -> Iterator[str]:
    record = subject.record
    if isinstance(record, ExtractReport):
        yield fenced(record.settings.model_dump_json(indent=1, exclude_none=True), "json")
        return
    steps = [(f"# step: {name}\n", step.recipe) for name, step in record.steps.items()]
    for comment, text in [*steps, ("", record.recipe)]:
        yield fenced(comment + text.strip("\n"), "yaml")
        yield ""
    if any(one.repo is None for one in subject.ingredients):
        yield "Folders are called by their names here; where they lay is left out."


def _overlap_title(subject: CardSubject) -> str:
    record = subject.record
    reports = [] if isinstance(record, ExtractReport) else [record, *record.steps.values()]
    stripped = any(report.matrices for report in reports)
    return "What was stripped" if stripped else "Overlap with the base"


def _section(title: str, lines: str | Iterable[str]) -> str:
    text = lines if isinstance(lines, str) else "\n".join(lines).strip("\n")
    return f"## {title}\n\n{text}" if title else text


def _warnings(subject: CardSubject, licence: Derived) -> Iterator[str]:
    if not licence.known:
        yield f"the licence is unknown: {licence.reason}; decide, and give --license ID"
    local = [one.name for one in subject.ingredients if one.repo is None]
    if local:
        yield (
            f"{', '.join(local)}: not from the Hub, so base_model leaves out what lay in a folder; "
            "merge from Hub ids to have it linked"
        )
