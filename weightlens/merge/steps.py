"""OUT.steps: results of the recipes of a file that others of it need, until the last is done."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from weightlens.checkpoint.locking import FileLock
from weightlens.checkpoint.output import PROVENANCE_FILE, check_output
from weightlens.checkpoint.partial import MARKER
from weightlens.errors import OutputError
from weightlens.merge.documents import Documents

_LOCK = ".weightlens-steps"


def step_folders(documents: Documents, out: Path) -> dict[str, Path]:
    """Where the result of each goes, by its name. Raises OutputError for a folder that is no
    earlier such result."""
    folders = {name: _home(out) / name for name in documents.steps}
    for folder in folders.values():
        check_output(folder, overwrite=True)
    return folders


@contextmanager
def held_steps(folders: Mapping[str, Path], out: Path) -> Iterator[None]:
    """Keeps other runs from the folders, which go on a clean exit, with what runs before have left
    of other steps.

    Raises OutputError where another run has them.
    """
    home = _home(out)
    if not folders and not (home / _LOCK).exists():
        yield
        return
    try:
        home.mkdir(parents=True, exist_ok=True)
        lock = FileLock(home / _LOCK)
        ours = lock.take()
    except OSError as error:
        raise OutputError(f"{home}: cannot be written ({error.strerror})") from error
    if not ours:
        raise OutputError(f"{out}: another run is filling {home}")
    try:
        yield
        for folder in filter(_is_result, home.iterdir()):
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        if not any(map(_is_result, home.iterdir())):
            lock.file.unlink(missing_ok=True)
            with suppress(OSError):  # not ours alone
                home.rmdir()
        lock.release()


def _is_result(folder: Path) -> bool:
    """Whether it is a step's, finished or not."""
    return any((folder / name).exists() for name in (PROVENANCE_FILE, MARKER))


def _home(out: Path) -> Path:
    place = out.resolve()
    return place.with_name(place.name + ".steps")
