"""Model references: a local folder, a Hub id with an optional @revision, or a sum of such,
FIRST+ADAPTER+ADAPTER…, where the first may be full weights or an adapter itself.

A path that exists wins over a Hub id, and over reading its name as a sum. Downloads go through
huggingface_hub: its cache, its token, its offline mode.
"""

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from weightlens.errors import ModelNotFound

_HUB_ID = re.compile(r"^[\w.-]+/[\w.-]+(@[\w./-]+)?$|^[\w.-]+(@[\w./-]+)?$")
_WANTED = ["*.safetensors", "*.json", "*.txt", "*.model", "*.jinja"]


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

    Raises ModelNotFound where one is neither a folder nor to be had from the Hub.
    """
    first, *others = [_found(term) for term in _terms(reference)]
    return Resolved(
        reference,
        first.folder,
        tuple(other.folder for other in others),
        (first.commit, *(other.commit for other in others)),
    )


def _terms(reference: str) -> list[str]:
    pieces = reference.split("+")
    for known in (os.path.exists, _may_be_known):
        terms = _reading(pieces, known)
        if terms is not None:
            return terms
    read = max(
        count for count in range(len(pieces)) if _reading(pieces[:count], _may_be_known) is not None
    )
    named = f"{'+'.join(pieces[read:])!r} in {reference}" if read else reference
    raise ModelNotFound(f"{named}: no such folder, and not a Hub id (owner/name@revision)")


def _may_be_known(term: str) -> bool:
    return os.path.exists(term) or bool(_HUB_ID.match(term))


def _reading(pieces: Sequence[str], known: Callable[[str], bool]) -> list[str] | None:
    """Known terms that the pieces between the + signs make up, each as long as can be, since a
    path may have a + in its name; None where there are no such terms."""
    if not pieces:
        return []
    for count in range(len(pieces), 0, -1):
        term = "+".join(pieces[:count])
        if term and known(term):
            rest = _reading(pieces[count:], known)
            if rest is not None:
                return [term, *rest]
    return None


def _found(term: str) -> _Found:
    return _Found(_folder(term), None) if os.path.exists(term) else _download(term)


def _folder(reference: str) -> Path:
    path = Path(reference)
    if path.is_dir():
        return path
    raise ModelNotFound(f"{reference}: is a file; give the model's folder")


def _download(reference: str) -> _Found:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    repo, _, revision = reference.partition("@")
    try:
        path = Path(snapshot_download(repo, revision=revision or None, allow_patterns=_WANTED))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).strip().split("\n")[0]
        raise ModelNotFound(
            f"{reference}: no such folder, and the Hub did not hand it over ({reason})"
        ) from error
    return _Found(path, path.name)
