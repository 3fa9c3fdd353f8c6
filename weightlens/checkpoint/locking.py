"""One run at a time: a lock on a file. It dies with the process, and with those it has forked."""

import fcntl
import os
import time
from pathlib import Path

PATIENCE = 0.5
"""Seconds for which the workers of a run that was killed may still hold a file."""


class FileLock:
    """Of a file that is made where it is not there. Nothing is made or held at first."""

    def __init__(self, file: Path) -> None:
        """file: in a folder that exists when it is taken."""
        self.file = file
        self._held: int | None = None

    @property
    def is_held(self) -> bool:
        """Whether it is ours."""
        return self._held is not None

    def take(self) -> bool:
        """Whether it is ours now, and not another process's. Raises OSError."""
        opened = os.open(self.file, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            # another run may have finished and taken the file away since it was opened
            ours = _locked(opened) and _is_there(opened, self.file)
        except OSError:
            os.close(opened)
            raise
        if not ours:
            os.close(opened)
            return False
        self._held = opened
        return True

    def release(self) -> None:
        """Lets another process have it."""
        if self._held is not None:
            os.close(self._held)
            self._held = None


def _locked(file: int) -> bool:
    """False where another process holds it for longer than it takes to die."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        else:
            return True


def _is_there(opened: int, file: Path) -> bool:
    return file.exists() and os.path.samestat(os.fstat(opened), file.stat())
