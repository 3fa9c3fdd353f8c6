"""The files of a model on the Hub, before any of them is downloaded."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from weightlens.errors import CheckpointError, ModelNotFound
from weightlens.hub.cached import cached_folder
from weightlens.hub.files import WeightFiles, weight_files
from weightlens.hub.reference import repo_and_revision
from weightlens.hub.refusal import model_not_found, refusals

_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Listing:
    """A model at one commit. sizes: bytes of every file by its path; weights: those that hold
    the weights."""

    repo: str
    commit: str
    sizes: Mapping[str, int]
    weights: WeightFiles


def look_up(term: str) -> Listing | Path:
    """What the Hub has under an id; where it cannot be asked, the folder in the cache.

    A revision that is a commit and whole in the cache is not asked for. Raises ModelNotFound where
    neither has it or it holds no weights, CheckpointError for a damaged index.
    """
    from huggingface_hub.errors import RevisionNotFoundError

    repo, revision = repo_and_revision(term)
    if revision and _COMMIT.fullmatch(revision) and (folder := cached_folder(repo, revision)):
        return folder
    try:
        return _listing(term)
    except refusals() as error:
        gone = isinstance(error, RevisionNotFoundError)
        if not gone and (folder := cached_folder(repo, revision)):
            return folder
        raise model_not_found(term, error) from error


def _listing(term: str) -> Listing:
    from huggingface_hub import HfApi, hf_hub_download

    repo, revision = repo_and_revision(term)
    info = HfApi().model_info(repo, revision=revision, files_metadata=True)
    sizes = {file.rfilename: file.size or 0 for file in info.siblings or ()}
    commit = info.sha
    if commit is None:
        raise ValueError("it names no commit")
    weights = weight_files(sizes, lambda name: Path(hf_hub_download(repo, name, revision=commit)))
    if not weights.names:
        raise ModelNotFound(
            f"{term}: the Hub has neither safetensors nor pytorch_model.bin under this id; give a "
            "model or an adapter in one of these forms"
        )
    for name in weights.names:
        if name not in sizes:
            raise CheckpointError(f"{term}: {weights.index} names {name}, which the Hub lacks")
    return Listing(repo, commit, sizes, weights)
