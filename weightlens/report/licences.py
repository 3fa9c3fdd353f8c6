"""The licence of a merge, from those of the models that went in.

All the same: that one. Different, or not known of some: unknown, with the reason. Whether one
licence permits what another one asks is for a person to judge.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from weightlens.errors import InputError
from weightlens.evaluate.written import nearest
from weightlens.report.licence_ids import LICENCE_IDS

OTHER, UNKNOWN = "other", "unknown"


@dataclass(frozen=True)
class Licence:
    """id: the Hub's identifier. name, link: of a licence that has none there (`other`); a link is
    an address, or a file beside the card."""

    id: str
    name: str | None = None
    link: str | None = None

    def __str__(self) -> str:
        return f"{self.id} ({self.name})" if self.name else self.id


@dataclass(frozen=True)
class Derived:
    """A licence and why it is that one; known: whether it is more than `unknown`."""

    licence: Licence
    reason: str

    @property
    def known(self) -> bool:
        """Whether the merge has a licence."""
        return self.licence.id != UNKNOWN


def given(id: str, name: str | None = None, link: str | None = None) -> Licence:
    """A licence as its user names it.

    Raises InputError for an identifier that the Hub lacks, and for `other` without name and link.
    """
    known = id.strip().lower()
    if known not in LICENCE_IDS:
        raise InputError(
            f"licence {id!r}: the Hub has no such identifier{nearest(known, sorted(LICENCE_IDS))}; "
            f"for one that it does not list give {OTHER}, with --license-name and --license-link"
        )
    if known == OTHER and not (name and link):
        raise InputError("licence other: give --license-name and --license-link with it")
    if known != OTHER and (name or link):
        raise InputError("--license-name and --license-link go with --license other")
    return Licence(known, name, link)


def of_card(card: Mapping[str, Any] | None) -> Licence | None:
    """What a model's own card says; None where it names no licence, several, or one without name
    that the Hub has none for."""
    fields = card or {}
    said = fields.get("license")
    if isinstance(said, list) and len(said) == 1:
        said = said[0]
    if not isinstance(said, str) or said.strip().lower() in ("", UNKNOWN):
        return None
    known = said.strip().lower()
    if known != OTHER:
        return Licence(known)
    name, link = (fields.get(key) for key in ("license_name", "license_link"))
    return Licence(OTHER, name, link if isinstance(link, str) else None) if name else None


def derived(found: Mapping[str, Licence | None]) -> Derived:
    """The licence of what was made of several models; found: theirs by what they are called."""
    known = [licence for licence in found.values() if licence is not None]
    silent = [name for name, licence in found.items() if licence is None]
    if known and not silent and len({(one.id, one.name) for one in known}) == 1:
        linked = next((one for one in known if one.link), known[0])
        return Derived(linked, "that of every model that went in")
    told = [f"{name} has {licence}" for name, licence in found.items() if licence]
    told += [f"none is known of {' and '.join(silent)}"] if silent else []
    differ = len({(one.id, one.name) for one in known}) > 1
    problem = "the models that went in have different ones" if differ else (
        "it follows from the models that went in, and not all of theirs are known"
    )  # fmt: skip
    return Derived(Licence(UNKNOWN), f"{problem}: {', '.join(told)}")
