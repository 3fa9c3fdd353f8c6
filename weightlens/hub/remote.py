"""What a model on the Hub holds, from the headers of its files, before it is downloaded.

A header is the first bytes of a safetensors file, so a request for a range of it is enough. Pickled
weights have no such header: of them, only the sizes are known beforehand.
"""

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from weightlens.errors import CheckpointError
from weightlens.hub.cached import cached_folder
from weightlens.hub.files import ADAPTER_CONFIG, weight_map
from weightlens.hub.listing import Listing, look_up
from weightlens.hub.reference import terms
from weightlens.hub.refusal import model_not_found, refusals
from weightlens.hub.resolve import local_folder

COMPANIONS = ("config.json", "generation_config.json", "tokenizer_config.json", "tokenizer.json",
              "special_tokens_map.json", "chat_template.jinja", ADAPTER_CONFIG)  # fmt: skip
"""The files beside the weights that a plan looks at."""

COMPANION_BYTES = 20_000_000
"""Larger ones are left for the download: the largest tokenizers have about 35 MB."""

_REQUESTS = 8
"""At a time, as huggingface_hub does it."""


class RemoteTensor(NamedTuple):
    """A tensor in a file on the Hub; dtype by safetensors' name."""

    dtype: str
    shape: tuple[int, ...]
    file: str


@dataclass(frozen=True)
class Peeked:
    """What is known of one model before it is downloaded.

    folder: where the files beside the weights lie. commit: the Hub's; None for a local folder.
    complete: whether the weights lie there too; then there is nothing more to know from here.
    sizes: bytes of every file on the Hub, by path. tensors: by name, in the checkpoint's order;
    none where the weights are pickled. missing: bytes that are to be downloaded.
    """

    term: str
    folder: Path
    commit: str | None = None
    complete: bool = True
    sizes: Mapping[str, int] = field(default_factory=dict)
    tensors: Mapping[str, RemoteTensor] = field(default_factory=dict)
    missing: int = 0

    @property
    def unknown(self) -> str | None:
        """Why shapes and dtypes are not known; None where they are."""
        if self.complete or self.tensors:
            return None
        return (
            f"{self.term}: has pickled weights only, whose headers cannot be read by range; their "
            f"size is known, {self.missing / 1e9:.3g} GB in all, and no more before the download"
        )


def peek_all(reference: str) -> tuple[Peeked, ...]:
    """Every term of a model reference, as `peek` sees it; raises what that raises."""
    return tuple(peek(term) for term in terms(reference))


def peek(term: str) -> Peeked:
    """Looks at one term of a model reference, and downloads no weights.

    The small files beside them go into huggingface_hub's cache, at the commit that was looked at.
    Raises ModelNotFound where the term is neither a folder nor to be had from the Hub, and
    CheckpointError for damaged headers.
    """
    if os.path.exists(term):
        return Peeked(term, local_folder(term))
    found = look_up(term)
    if isinstance(found, Path):
        return Peeked(term, found, found.name)
    if folder := cached_folder(found.repo, found.commit, found.weights):
        return Peeked(term, folder, found.commit, sizes=found.sizes)
    try:
        return _peeked(term, found)
    except refusals() as error:
        raise model_not_found(term, error) from error


def _peeked(term: str, listing: Listing) -> Peeked:
    small = [n for n in COMPANIONS if listing.sizes.get(n, COMPANION_BYTES) < COMPANION_BYTES]
    headers = () if listing.weights.pickled else listing.weights.names
    with ThreadPoolExecutor(_REQUESTS, thread_name_prefix="peeking") as requests:
        files = requests.map(lambda name: _downloaded(listing, name), small)
        read = requests.map(lambda name: _header(term, listing, name), headers)
        companions, by_file = list(files), dict(zip(headers, read, strict=True))
    folder = _snapshot(listing) if not companions else companions[0].parent
    wanted = listing.weights.wanted(listing.sizes)
    missing = sum(listing.sizes[name] for name in wanted if not (folder / name).is_file())
    return Peeked(
        term,
        folder,
        listing.commit,
        complete=False,
        sizes=listing.sizes,
        tensors=_in_order(term, listing, by_file),
        missing=missing,
    )


def _downloaded(listing: Listing, name: str) -> Path:
    from huggingface_hub import hf_hub_download

    return Path(hf_hub_download(listing.repo, name, revision=listing.commit))


def _snapshot(listing: Listing) -> Path:
    """Where the cache will have the model; nothing is there yet."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    repo = repo_folder_name(repo_id=listing.repo, repo_type="model")
    return Path(constants.HF_HUB_CACHE, repo, "snapshots", listing.commit)


def _header(term: str, listing: Listing, name: str) -> dict[str, RemoteTensor]:
    """The tensors of one file, in the order in which they lie there."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import SafetensorsParsingError

    try:
        header = HfApi().parse_safetensors_file_metadata(
            listing.repo, name, revision=listing.commit
        )
        placed = sorted(header.tensors.items(), key=lambda item: item[1].data_offsets)
        return {
            tensor: RemoteTensor(str(info.dtype), tuple(map(int, info.shape)), name)
            for tensor, info in placed
        }
    except (SafetensorsParsingError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{term}: {name} has a damaged header ({error})") from error


def _in_order(
    term: str, listing: Listing, by_file: Mapping[str, Mapping[str, RemoteTensor]]
) -> dict[str, RemoteTensor]:
    """All tensors, in the order in which the model lists them once it is downloaded."""
    if not by_file:
        return {}
    index = listing.weights.index
    if index is None:
        if len(by_file) > 1:
            names = ", ".join(list(by_file)[:3])
            raise CheckpointError(f"{term}: several safetensors files ({names} …) and no index")
        (tensors,) = by_file.values()
        return dict(tensors)
    shards = weight_map(_downloaded(listing, index))
    for name, shard in shards.items():
        if name not in by_file[shard]:
            raise CheckpointError(f"{term}: tensor {name} is not in {shard}; {index} says so")
    return {name: by_file[shard][name] for name, shard in shards.items()}
