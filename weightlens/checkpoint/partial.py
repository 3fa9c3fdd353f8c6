"""OUT.partial: the folder that a run fills, one run at a time, and that becomes OUT."""

import contextlib
import os
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path

from weightlens.checkpoint.journal import Journal
from weightlens.checkpoint.locking import FileLock
from weightlens.checkpoint.output import PROVENANCE_FILE, check_output, partial_of, unwritable
from weightlens.errors import OutputError

MARKER = ".weightlens-partial"
"""Lies in a folder that a run is filling; only folders with it are ever cleared away."""
JOURNAL = ".weightlens-journal"
REPLACED = ".weightlens-replaced"
"""What OUT held before --overwrite, while the one takes the place of the other."""


def bytes_held(out: Path) -> int:
    """What an earlier run has allocated for OUT, and the next one can use."""
    folder = partial_of(out.resolve())
    try:
        if not (folder / MARKER).exists():
            return 0
        files = [file for file in folder.iterdir() if file.is_file()]
        return sum(file.stat().st_blocks * 512 for file in files)
    except OSError:  # another user's
        return 0


def unfinished(out: Path, plan: str | None, *, overwrite: bool, fresh: bool) -> int:
    """How many tensors of OUT a run with this plan would find finished; plan: None for a run that
    goes on from nothing. Writes nothing. Raises OutputError where `PartialFolder.claim` would."""
    try:
        return PartialFolder(out.resolve()).seen(overwrite=overwrite, plan=plan, fresh=fresh)
    except OSError as error:
        raise unwritable(out, error, "run again") from error


def journal_of(folder: Path, plan: str | None, *, fresh: bool = False) -> Journal:
    """The journal that a folder holds. Raises OutputError where it has finished tensors of another
    plan, unless `fresh`."""
    journal = Journal(folder / JOURNAL)
    if fresh or not journal.finished or journal.plan == plan:
        return journal
    holds = f"{folder}: holds {len(journal.finished)} finished tensors"
    if plan is None:
        raise OutputError(f"{holds} of another merge, which was interrupted; run that again, or "
                          "remove the folder, as --fresh of merge does")  # fmt: skip
    raise OutputError(
        f"{holds}, but the recipe, the seed, a source, --device or weightlens has changed since; "
        "--fresh starts anew"
    )


def settle(out: Path) -> None:
    """Clears away what a run has left in OUT that was killed just after OUT had got its name."""
    place = out.resolve()
    if not ((place / MARKER).exists() and (place / PROVENANCE_FILE).exists()):
        return
    lock = FileLock(place / MARKER)
    with contextlib.suppress(OSError):  # another user's
        if lock.take():
            _tidy(place)
            lock.release()


@contextlib.contextmanager
def filled(out: Path, *, overwrite: bool, fresh: bool) -> Iterator[Path]:
    """An empty folder that becomes OUT on a clean exit, and goes where an exception passes.

    fresh: even if a merge that was interrupted has left finished tensors. Raises OutputError as
    `PartialFolder.claim` does, and where the disk is at fault.
    """
    partial = PartialFolder(out.resolve())
    try:
        partial.claim(overwrite=overwrite, plan=None, fresh=fresh)
        partial.clear()
        yield partial.path
        partial.publish()
    except BaseException as error:
        partial.remove()
        if isinstance(error, OSError):
            raise unwritable(out, error, "run again; nothing is left of it") from error
        raise
    finally:
        partial.release()


class PartialFolder:
    """Held by a lock on its marker, which dies with the process, and with those it has forked."""

    def __init__(self, out: Path) -> None:
        """out: resolved; the folder lies beside it. Nothing is made yet."""
        self.out, self.path = out, partial_of(out)
        self._lock = FileLock(self.path / MARKER)

    def claim(self, *, overwrite: bool, plan: str | None, fresh: bool) -> Journal:
        """Makes the folder, or takes over one whose run has died, with what is in it but for what
        that was killed in replacing, which gets its name back. Returns the journal that is in it.

        Raises OutputError as `unfinished` does, where the folder is another run's, or not ours, and
        as `check_output` does.
        """
        self._check_ours()
        self.path.mkdir(parents=True, exist_ok=True)
        self._take()
        try:
            self.restore()
            check_output(self.out, overwrite=overwrite)
            return journal_of(self.path, plan, fresh=fresh)
        except BaseException:
            if [entry.name for entry in self.path.iterdir()] == [MARKER]:
                self.remove()
            self.release()
            raise

    def seen(self, *, overwrite: bool, plan: str | None, fresh: bool) -> int:
        """The number of finished tensors that `claim` would find. Raises like it."""
        self._check_ours()
        if not self._lock.file.exists():
            return 0
        self._take()
        self.release()
        if (self.path / REPLACED).exists() and not overwrite:
            raise OutputError(f"{self.out}: a run was killed in replacing it; what it was comes "
                              "back, is not empty, and wants --overwrite")  # fmt: skip
        journal = journal_of(self.path, plan, fresh=fresh)
        return 0 if fresh else len(journal.finished)

    def _check_ours(self) -> None:
        if self.path.exists() and not self._lock.file.exists():
            # empty: a run was killed before it made the marker
            if not self.path.is_dir() or any(self.path.iterdir()):
                raise OutputError(f"{self.path}: exists and is not ours; move it away")

    def _take(self) -> None:
        if not self._lock.take():
            raise OutputError(f"{self.out}: another run is filling it")

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
        _tidy(self.out)

    def remove(self) -> None:
        """Removes the folder if it is held, unless it has what OUT was before."""
        if self._lock.is_held and not (self.path / REPLACED).exists():
            with contextlib.suppress(OSError):
                self.clear()  # the marker last: a folder without it would not be ours
            shutil.rmtree(self.path, ignore_errors=True)

    @property
    def is_held(self) -> bool:
        """Whether it is ours."""
        return self._lock.is_held

    def release(self) -> None:
        """Lets another run have the folder."""
        self._lock.release()


def _tidy(out: Path) -> None:
    """The marker last: without it nobody would know of the others."""
    (out / JOURNAL).unlink(missing_ok=True)
    shutil.rmtree(out / REPLACED, ignore_errors=True)
    (out / MARKER).unlink(missing_ok=True)


def _sync(path: Path) -> None:
    opened = os.open(path, os.O_RDONLY)
    try:
        # some network file systems cannot do it for folders
        with contextlib.suppress(OSError) if path.is_dir() else contextlib.nullcontext():
            os.fsync(opened)
    finally:
        os.close(opened)
