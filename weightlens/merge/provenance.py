"""Which models went in: what records say of them, and what an adapter says of its base."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from weightlens.checkpoint.digests import content_hash
from weightlens.hub import Resolved
from weightlens.merge.record import SourceRecord


@dataclass(frozen=True)
class PeftBase:
    """Where PEFT finds a base, and which revision of it; None where there is no such place."""

    model: str | None
    revision: str | None = None


def source_record(at: Resolved, hash_of: Callable[[Path], str] = content_hash) -> SourceRecord:
    """A model as its user calls it, with the commits and the hashes of all its folders."""
    commits = [commit or "local" for commit in at.commits]
    return SourceRecord(
        model=at.label,
        commit="+".join(commits) if any(at.commits) else None,
        hash="+".join(hash_of(folder) for folder in at.folders),
    )


def peft_base(at: Resolved) -> PeftBase:
    """A base as PEFT is to look for it: nowhere if it is a sum."""
    if at.adapters:
        return PeftBase(None)
    if at.commits[0] is None:
        return PeftBase(at.label)
    name, _, revision = at.label.partition("@")
    return PeftBase(name, revision or None)
