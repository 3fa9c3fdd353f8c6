"""OUT.partial: the folder that a run fills, one run at a time, and that becomes OUT."""

import contextlib
import fcntl
import os
import shutil
import time
from collections.abc import Collection
from pathlib import Path

from weightlens.errors import OutputError

MARKER = ".weightlens-partial"
"""Lies in a folder that a run is filling; only folders with it are ever cleared away."""
JOURNAL = ".weightlens-journal"
REPLACED = ".weightlens-replaced"
"""What OUT held before --overwrite, while the one takes the place of the other."""

PATIENCE = 0.5
"""Seconds for which the workers of a run that was killed may still hold a folder."""


def bytes_held(out: Path) -> int:
    """What an earlier run has allocated for OUT, and the next one can use."""
    folder = PartialFolder(out.resolve()).path
    if not (folder / MARKER).exists():
        return 0
    files = [file for file in folder.iterdir() if file.is_file()]
    return sum(file.stat().st_blocks * 512 for file in files)


class PartialFolder:
    """Held by a lock on its marker, which dies with the process, and with those it has forked."""

    def __init__(self, out: Path) -> None:
        """out: resolved; the folder lies beside it. Nothing is made yet."""
        self.out, self.path = out, out.with_name(out.name + ".partial")
        self._lock: int | None = None

    def claim(self) -> None:
        """Makes the folder, or takes over one whose run has died, with what is in it.

        Raises OutputError where it is another run's, or not ours.
        """
        marker = self.path / MARKER
        if self.path.exists() and not marker.exists():
            # empty: a run was killed before it made the marker
            if not self.path.is_dir() or any(self.path.iterdir()):
                raise OutputError(f"{self.path}: exists and is not ours; move it away")
        self.path.mkdir(parents=True, exist_ok=True)
        lock = os.open(marker, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            _lock(lock)
            # another run may have finished and taken the folder away since it was opened
            held = marker.exists() and os.path.samestat(os.fstat(lock), marker.stat())
        except BlockingIOError:
            held = False
        except OSError:
            os.close(lock)
            raise
        if not held:
            os.close(lock)
            raise OutputError(f"{self.out}: another run is filling it")
        self._lock = lock

    def restore(self) -> None:
        """Puts back what a run was killed in replacing.

        Raises OutputError where something else has come into its place.
        """
        old = self.path / REPLACED
        if not old.exists():
            return
        if self.out.exists() and any(self.out.iterdir()):
            raise OutputError(f"{old}: is what {self.out} was before; move one of the two away")
        old.rename(self.out)

    def clear(self, *, keep: Collection[str] = ()) -> None:
        """Removes what is in the folder, but for its marker and the names to keep."""
        for entry in sorted(self.path.iterdir()):
            if entry.name == MARKER or entry.name in keep:
                continue
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()

    def publish(self, *, sync: bool = True) -> None:
        """Becomes OUT; what was there goes when that is done. Everything is on disk before, unless
        that is not to be waited for."""
        for entry in (*self.path.rglob("*"), self.path) if sync else ():
            _sync(entry)
        try:
            if self.out.exists() and any(self.out.iterdir()):
                self.out.rename(self.path / REPLACED)
            self.path.rename(self.out)
        except BaseException:
            self.restore()
            raise
        _sync(self.out.parent)
        for name in (JOURNAL, MARKER):
            (self.out / name).unlink(missing_ok=True)
        shutil.rmtree(self.out / REPLACED, ignore_errors=True)

    def remove(self) -> None:
        """Removes the folder if it is held, unless it has what OUT was before."""
        if self._lock is not None and not (self.path / REPLACED).exists():
            with contextlib.suppress(OSError):
                self.clear()  # the marker last: a folder without it would not be ours
            shutil.rmtree(self.path, ignore_errors=True)

    def release(self) -> None:
        """Lets another run have the folder."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _lock(file: int) -> None:
    """Raises BlockingIOError where another process holds it for longer than it takes to die."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def _sync(path: Path) -> None:
    opened = os.open(path, os.O_RDONLY)
    try:
        # some network file systems cannot do it for folders
        with contextlib.suppress(OSError) if path.is_dir() else contextlib.nullcontext():
            os.fsync(opened)
    finally:
        os.close(opened)
