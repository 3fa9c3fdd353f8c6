"""A merge that mergekit's engine carries out, behind the same folder, record and progress.

What it writes appears under its name when it is whole, as with our own engine; but it keeps no
journal, so that a run that was killed begins anew.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import yaml

from weightlens.checkpoint.chat import set_chat_template
from weightlens.checkpoint.checksums import checksums_of
from weightlens.checkpoint.layout import scan_folder
from weightlens.checkpoint.output import PROVENANCE_FILE
from weightlens.checkpoint.partial import filled
from weightlens.checkpoint.read import FolderWeights
from weightlens.checkpoint.weights import all_finite
from weightlens.errors import NonFiniteTensor, OutputError
from weightlens.merge.mergekit_bridge import run_mergekit
from weightlens.merge.preparing import Prepared, mergekit_folders
from weightlens.merge.record import MergeReport
from weightlens.merge.resolution import Resolution
from weightlens.merge.running import Progress
from weightlens.merge.verifying import differences

_OURS = ("transforms", "embeddings", "output", "name", "chat_template")
"""Keys of a recipe that mergekit does not know, or knows fewer values of."""

_BLOCK = 1 << 22
"""Entries that are looked at at a time."""


def run_bridged(
    ready: Prepared,
    out: Path,
    *,
    seed: int,
    overwrite: bool,
    fresh: bool,
    verify: bool,
    device: str,
    progress: Progress,
    report: Callable[[int, int], MergeReport],
) -> MergeReport:
    """Merges into a folder that is whole or absent.

    verify: read it back from the disk before. report: given the number of tensors and their bytes,
    what is written beside them. Raises RecipeError, CheckpointError, InputError and OutputError.
    """
    models = mergekit_folders(ready.resolution, ready.located)
    with filled(out, overwrite=overwrite, fresh=fresh) as folder:
        warnings = run_mergekit(
            mergekit_text(ready.resolution),
            folder,
            models=models,
            seed=seed,
            device=device,
            progress=progress,
        )
        if ready.words.template is not None:
            set_chat_template(folder, ready.words.template)
        _check_finite(folder)
        written = scan_folder(folder)
        found = report(len(written), sum(tensor.info.nbytes for tensor in written.values()))
        said = {"warnings": [*found.warnings, *warnings], "checksums": checksums_of(folder)}
        found = found.model_copy(update=said)
        if verify:
            _verify(folder, found.checksums)
        (folder / PROVENANCE_FILE).write_text(found.to_json(), encoding="utf-8")
    return found


def mergekit_text(resolution: Resolution) -> str:
    """The recipe without what only weightlens knows: the very text where there is nothing such."""
    data = resolution.written.data
    if not any(key in data for key in _OURS):
        return resolution.text
    kept = {key: value for key, value in data.items() if key not in _OURS}
    if resolution.recipe.embeddings == "tokenizer" and resolution.recipe.wanted_tokenizer is None:
        kept["tokenizer_source"] = "base"
    return yaml.safe_dump(kept, sort_keys=False)


def _verify(folder: Path, wanted: Mapping[str, str]) -> None:
    """Reads every tensor back from the disk. Raises OutputError."""
    for file in folder.glob("*.safetensors"):
        with file.open("rb") as opened:
            os.fdatasync(opened.fileno())
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    if differing := differences(wanted, checksums_of(folder)):
        raise OutputError(f"{folder}: is not on the disk as it was written ({differing}); look "
                          "after the disk and run again")  # fmt: skip


def _check_finite(folder: Path) -> None:
    """mergekit looks at no number. Raises NonFiniteTensor."""
    weights = FolderWeights(folder)
    for name, info in weights.infos.items():
        if not info.dtype.is_floating_point:
            continue
        for start in range(0, info.entries, _BLOCK):
            if not all_finite(weights.exact_block(name, start, min(start + _BLOCK, info.entries))):
                raise NonFiniteTensor(
                    f"{name}: the merge holds NaN or Inf, so one of its sources does, or it goes "
                    "beyond its dtype"
                )
