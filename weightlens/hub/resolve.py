"""Model references: a local folder, a Hub id with an optional @revision, or BASE+ADAPTER.

A path that exists wins over a Hub id. Downloads go through huggingface_hub: its cache, its token,
its offline mode.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from weightlens.errors import ModelNotFound

_HUB_ID = re.compile(r"^[\w.-]+/[\w.-]+(@[\w./-]+)?$|^[\w.-]+(@[\w./-]+)?$")
_WANTED = ["*.safetensors", "*.json", "*.txt", "*.model", "*.jinja"]


@dataclass(frozen=True)
class Resolved:
    """Where a model lies, and what the user called it.

    commit: the Hub commit that was downloaded, None for a local folder.
    """

    label: str
    path: Path
    adapter: Path | None = None
    commit: str | None = None


def resolve(reference: str) -> Resolved:
    """The folder of a model, downloaded if need be.

    Raises ModelNotFound where it is neither a folder nor to be had from the Hub.
    """
    if reference and Path(reference).exists():
        return Resolved(reference, _folder(reference))
    for cut in (i for i, character in enumerate(reference) if character == "+"):
        base, adapter = reference[:cut], reference[cut + 1 :]
        if base and adapter and _known(base) and _known(adapter):
            below, above = resolve(base), resolve(adapter)
            return Resolved(reference, below.path, adapter=above.path, commit=below.commit)
    return _download(reference)


def _known(reference: str) -> bool:
    return Path(reference).exists() or bool(_HUB_ID.match(reference))


def _folder(reference: str) -> Path:
    path = Path(reference)
    if path.is_dir():
        return path
    raise ModelNotFound(f"{reference}: is a file; give the model's folder")


def _download(reference: str) -> Resolved:
    if not _HUB_ID.match(reference):
        raise ModelNotFound(f"{reference}: no such folder, and not a Hub id (owner/name@revision)")
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
    return Resolved(reference, path, commit=path.name)
