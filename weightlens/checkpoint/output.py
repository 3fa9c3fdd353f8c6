"""OUT: the folder that a run makes, whole or not at all."""

import contextlib
import errno
import os
from collections.abc import Sequence
from pathlib import Path

from weightlens.errors import OutputError

PROVENANCE_FILE = "weightlens.json"
"""Lies beside the weights of every merge: how it was made."""


def partial_of(out: Path) -> Path:
    """The folder that a run fills, which becomes OUT; out: resolved."""
    return out.with_name(out.name + ".partial")


def unwritable(out: Path, error: OSError, then: str, *, needed: int | None = None) -> OutputError:
    """What to say where a disk does not take an output. then: what to do, and what is left of it;
    needed: its bytes."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        size = "" if needed is None else f" ({needed / 1e9:.3g} GB needed)"
        return OutputError(f"{out}: the disk is full{size}; free some space and {then}")
    at = "" if error.filename is None else f": {error.filename}"
    return OutputError(
        f"{out}: cannot be written ({error.strerror}{at}); when that is mended, {then}"
    )


def check_output(out: Path, *, overwrite: bool, sources: Sequence[Path] = ()) -> None:
    """Raises OutputError unless OUT is new, an empty folder, or an earlier merge to be replaced, in
    a place that can be written to.

    sources: folders that are read; replacing one of them is refused.
    """
    try:
        place = out.resolve()
        if place.is_mount():
            raise OutputError(f"{out}: is a mount point; choose a new folder below it")
        if place.exists() and not place.is_dir():
            raise OutputError(f"{out}: exists and is a file")
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            os.stat(partial_of(place))  # its name can be too long where OUT's is not
        occupied = place.exists() and any(place.iterdir())
        home = next(parent for parent in place.parents if parent.exists())
        if not home.is_dir():
            raise OutputError(f"{out}: {home} is a file; choose another folder")
        if not os.access(home, os.W_OK | os.X_OK):
            raise OutputError(f"{out}: {home} is read-only; choose another folder")
    except OSError as error:
        raise OutputError(f"{out}: cannot be used ({error.strerror})") from error
    if not occupied:
        return
    if not overwrite:
        raise OutputError(f"{out}: exists and is not empty; choose another or --overwrite")
    if not (place / PROVENANCE_FILE).is_file():
        raise OutputError(
            f"{out}: is no earlier merge (no {PROVENANCE_FILE} in it), so it is not overwritten"
        )
    for source in sources:
        if place in (source.resolve(), *source.resolve().parents):
            raise OutputError(f"{out}: holds the source {source}, so it is not overwritten")
