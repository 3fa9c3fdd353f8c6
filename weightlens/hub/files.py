"""Which files of a model are wanted: those that hold its weights, and the small ones beside them.

The weights are the files that weightlens.checkpoint opens: safetensors, and pickles only where
there are none of those.
"""

import json
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from glob import escape
from pathlib import Path

from weightlens.errors import CheckpointError

ADAPTER_CONFIG = "adapter_config.json"

_COMPANIONS = ("*.json", "*.txt", "*.model", "*.jinja")
_FORMS = (
    ("model.safetensors.index.json", "model.safetensors"),
    ("pytorch_model.bin.index.json", "pytorch_model.bin"),
)
_ADAPTER_FORMS = ("adapter_model.safetensors", "adapter_model.bin")
_PART = re.compile(r"-\d+-of-(\d+)\.\w+$")


@dataclass(frozen=True)
class WeightFiles:
    """names: the files, none where there are no weights; index: the one that lists them, if any."""

    names: tuple[str, ...] = ()
    index: str | None = None

    @property
    def pickled(self) -> bool:
        """Whether they are pickles."""
        return any(name.endswith(".bin") for name in self.names)

    @property
    def patterns(self) -> list[str]:
        """Patterns of all that is wanted of the model, as huggingface_hub takes them."""
        return [*_COMPANIONS, *(escape(name) for name in self.names)]

    def wanted(self, names: Collection[str]) -> list[str]:
        """Those of a model's files that are."""
        return [name for name in names if any(fnmatch(name, p) for p in self.patterns)]


def weight_files(names: Collection[str], local: Callable[[str], Path]) -> WeightFiles:
    """The files that hold a model's weights, or an adapter's factors.

    names: of all its files; local: makes one of them readable. Raises CheckpointError for an index
    that is damaged or names files outside the folder.
    """
    safetensors = sorted(n for n in names if n.endswith(".safetensors") and "/" not in n)
    if ADAPTER_CONFIG in names:
        kept, pickle = _ADAPTER_FORMS
        found = kept if kept in names else pickle
        usable = found in names and (found == kept or not safetensors)
        return WeightFiles((found,) if usable else ())
    (index, single), (pickled_index, pickle) = _FORMS
    if index in names:
        return WeightFiles(_shards(local(index)), index)
    if safetensors:
        return WeightFiles((single,) if single in names else tuple(safetensors))
    if pickled_index in names:
        return WeightFiles(_shards(local(pickled_index)), pickled_index)
    return WeightFiles((pickle,) if pickle in names else ())


def part_of(name: str) -> int:
    """How many files a file belongs to, by its name: 1 unless it is called 00001-of-0000N."""
    found = _PART.search(name)
    return int(found[1]) if found else 1


def weight_map(index: Path) -> Mapping[str, str]:
    """The file of every tensor, in the index's order. Raises CheckpointError for a damaged index
    and for files outside its folder."""
    try:
        listed = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        files = {str(name): str(file) for name, file in listed.items()}
    except (OSError, ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{index}: not an index of shards ({error})") from error
    for file in files.values():
        if Path(file).name != file:
            raise CheckpointError(f"{index}: shard {file!r} lies outside the folder")
    return files


def _shards(index: Path) -> tuple[str, ...]:
    return tuple(sorted(set(weight_map(index).values())))
