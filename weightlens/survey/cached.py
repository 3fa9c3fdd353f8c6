"""What the cache of factorisations holds, as a record."""

from datetime import UTC, datetime
from typing import Literal

from pydantic import Field

from weightlens.factors import FactorCache, default_cache
from weightlens.factors.cache import cache_folder
from weightlens.record import Record
from weightlens.survey.unfinished import unfinished_folder


class CachedRecord(Record):
    """One factorisation. vectors: how many of min(m, n) are known."""

    key: str
    shape: tuple[int, int]
    vectors: int
    bytes: int
    used: datetime


class CacheListing(Record):
    """All of them, used last first. limit: bytes; 0 where nothing is kept."""

    schema_: Literal["weightlens.cache/1"] = Field(default="weightlens.cache/1", alias="schema")
    folder: str
    limit: int
    bytes: int
    unfinished: int
    entries: list[CachedRecord]


def list_cache() -> CacheListing:
    """The user's cache. Raises InputError for a limit that is no number."""
    cache = default_cache()
    entries = _whole(cache).entries()
    return CacheListing(
        folder=str(cache_folder()),
        limit=cache.limit if cache else 0,
        bytes=sum(entry.bytes for entry in entries),
        unfinished=len(list(unfinished_folder().glob("*.json"))),
        entries=[
            CachedRecord(
                key=entry.key,
                shape=entry.shape,
                vectors=entry.vectors,
                bytes=entry.bytes,
                used=datetime.fromtimestamp(entry.used, UTC),
            )
            for entry in reversed(entries)
        ],
    )


def clear_cache() -> int:
    """Removes factorisations and interrupted analyses; returns the bytes freed."""
    freed = _whole(default_cache()).clear()
    for file in unfinished_folder().glob("*.json"):
        freed += file.stat().st_size
        file.unlink(missing_ok=True)
    return freed


def _whole(cache: FactorCache | None) -> FactorCache:
    """The cache itself even where a limit of 0 says that nothing is to be kept."""
    return cache or FactorCache(cache_folder() / "factors", limit=0)
