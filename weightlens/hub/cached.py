"""What of the Hub is on this machine already, without a word to the network."""

import os
from pathlib import Path

from weightlens.errors import CheckpointError
from weightlens.hub.files import WeightFiles, part_of, weight_files
from weightlens.hub.reference import repo_and_revision, terms
from weightlens.hub.refusal import refusals


def is_cached(reference: str) -> bool:
    """Whether every term of a model reference is a local folder, or whole in huggingface_hub's
    cache at the commit that the cache knows its revision by.

    Raises ModelNotFound for what can be neither.
    """
    return all(
        os.path.isdir(term) or cached_folder(*repo_and_revision(term)) is not None
        for term in terms(reference)
    )


def cached_folder(
    repo: str, revision: str | None, weights: WeightFiles | None = None
) -> Path | None:
    """The folder of a model in the cache; None unless all that is wanted of it is there.

    revision: a branch, a tag or a commit; None for the usual branch. weights: the files that must
    be there; those that the folder itself speaks of unless given.
    """
    from huggingface_hub import snapshot_download

    def local(patterns: list[str]) -> Path:
        return Path(
            snapshot_download(
                repo, revision=revision, local_files_only=True, allow_patterns=patterns
            )
        )

    try:
        folder = local([])  # no pattern, no file: the folder alone
        files = weights or _weights_in(folder)
        # raises where the cache has kept a list of the model's files, and one is missing
        local(files.patterns)
    except refusals():
        return None
    whole = all((folder / name).is_file() for name in files.names)
    return folder if files.names and whole else None


def _weights_in(folder: Path) -> WeightFiles:
    try:
        files = weight_files([file.name for file in folder.iterdir()], folder.joinpath)
    except CheckpointError:
        return WeightFiles()
    if files.index is None and any(part_of(name) > 1 for name in files.names):
        return WeightFiles()  # shards whose index has not come yet
    return files
