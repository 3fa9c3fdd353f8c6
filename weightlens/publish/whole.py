"""Whether a folder holds a whole model or adapter, before anything of it is sent."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from weightlens.checkpoint.adapter import CONFIG_FILE as ADAPTER_CONFIG
from weightlens.checkpoint.adapter import Adapter
from weightlens.checkpoint.config import CONFIG_FILE, read_config
from weightlens.checkpoint.header import INDEX_FILE, scan_folder
from weightlens.checkpoint.output import PROVENANCE_FILE
from weightlens.checkpoint.partial import MARKER
from weightlens.checkpoint.weight_files import ADAPTER_FILE
from weightlens.errors import CheckpointError, PublishError, WeightlensError
from weightlens.merge.verifying import verify_folder

Progress = Callable[[int, int, str], None]
"""Called with what is done, how much there is in all, and what it is."""


@dataclass(frozen=True)
class Whole:
    """kind: a model with its own weights, or an adapter; weights: the files that hold them."""

    kind: Literal["model", "adapter"]
    weights: frozenset[str]


def check_whole(folder: Path) -> Whole:
    """What a folder holds, by headers, index and sizes alone.

    Raises PublishError for a folder that is unfinished, damaged, or no model's.
    """
    _check_finished(folder)
    with _not_sent():
        return _adapter(folder) if (folder / ADAPTER_CONFIG).is_file() else _model(folder)


def verify(folder: Path, progress: Progress) -> bool:
    """Reads every tensor and compares it with the checksums of the record; False without a record,
    when headers, index and sizes are all that could be checked.

    Raises PublishError for weights that are not those of the record, and for a record that says
    nothing of their bytes.
    """
    if not (folder / PROVENANCE_FILE).is_file():
        return False
    with _not_sent():
        verify_folder(folder, progress)
    return True


@contextmanager
def _not_sent() -> Iterator[None]:
    try:
        yield
    except PublishError:
        raise
    except WeightlensError as error:
        raise PublishError(f"{error}; nothing was sent") from error


def _check_finished(folder: Path) -> None:
    partial = folder.with_name(folder.name + ".partial")
    if not folder.is_dir():
        if partial.is_dir():
            raise PublishError(
                f"{folder}: is not finished; run the same merge again, it goes on from {partial}"
            )
        raise PublishError(f"{folder}: no such folder; give the one that the merge wrote")
    if folder.name.endswith(".partial") or (folder / MARKER).exists():
        raise PublishError(
            f"{folder}: is an unfinished merge; run the same merge again, which goes on from it, "
            "and push its output"
        )


def _model(folder: Path) -> Whole:
    held = scan_folder(folder)  # also that headers fit sizes, and the index what is there
    if not held:
        raise CheckpointError(f"{folder}: holds no tensor")
    if not read_config(folder):
        raise PublishError(f"{folder}: has no {CONFIG_FILE}, so nobody could load it")
    index = {INDEX_FILE} if (folder / INDEX_FILE).is_file() else set()
    return Whole("model", frozenset({entry.file.name for entry in held.values()} | index))


def _adapter(folder: Path) -> Whole:
    if not (folder / ADAPTER_FILE).is_file():
        raise PublishError(f"{folder}: is an adapter without {ADAPTER_FILE}")
    Adapter(folder)  # every factor has its partner, and the config reads
    return Whole("adapter", frozenset({ADAPTER_FILE}))
