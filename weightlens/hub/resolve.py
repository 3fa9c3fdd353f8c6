"""Model references: a local folder, a Hub id with an optional @revision, or a sum of such,
FIRST+ADAPTER+ADAPTER…, where the first may be full weights or an adapter itself.

A path that exists wins over a Hub id, and over reading its name as a sum. Downloads go through
huggingface_hub: its cache, its token, its offline mode. Of a model that has safetensors, no pickles
are downloaded.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from weightlens.errors import ModelNotFound
from weightlens.hub.listing import look_up
from weightlens.hub.reference import repo_and_revision, terms
from weightlens.hub.refusal import model_not_found, refusals


@dataclass(frozen=True)
class Resolved:
    """Where a model lies, and what the user called it.

    path: the folder of the first term. adapters: those of the others, in order. commits: of each
    folder the Hub commit that was downloaded, None for a local one.
    """

    label: str
    path: Path
    adapters: tuple[Path, ...] = ()
    commits: tuple[str | None, ...] = (None,)

    @property
    def folders(self) -> tuple[Path, ...]:
        """All folders, in the order in which they were named."""
        return (self.path, *self.adapters)


@dataclass(frozen=True)
class _Found:
    folder: Path
    commit: str | None


def resolve(reference: str) -> Resolved:
    """The folders of a model, downloaded if need be.

    Raises ModelNotFound where one is neither a folder nor to be had from the Hub, CheckpointError
    where the index of its shards there is damaged.
    """
    first, *others = [_found(term) for term in terms(reference)]
    return Resolved(
        reference,
        first.folder,
        tuple(other.folder for other in others),
        (first.commit, *(other.commit for other in others)),
    )


def _found(term: str) -> _Found:
    return _Found(local_folder(term), None) if os.path.exists(term) else _download(term)


def local_folder(term: str) -> Path:
    """A path as the folder of a model. Raises ModelNotFound for a file."""
    path = Path(term)
    if path.is_dir():
        return path
    raise ModelNotFound(f"{term}: is a file; give the model's folder")


def _download(term: str) -> _Found:
    from huggingface_hub import snapshot_download

    listing = look_up(term)
    if isinstance(listing, Path):
        return _Found(listing, listing.name)
    repo, revision = repo_and_revision(term)
    try:
        path = Path(
            snapshot_download(repo, revision=revision, allow_patterns=listing.weights.patterns)
        )
    except refusals() as error:
        raise model_not_found(term, error) from error
    return _Found(path, path.name)
