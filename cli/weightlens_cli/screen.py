"""Where output goes: results to stdout, progress to stderr."""

import os
import stat
import sys
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, ProgressColumn, Task, TaskID


_FILE_WIDTH = 120
_WIDE_BAR, _NARROW_BAR = 30, 12


def console() -> "Console":
    """Standard output. Honours NO_COLOR.

    Lines of a file are 120 wide; those of a pipe are as wide as the terminal, where there is one
    that they will be read in.
    """
    width = None if sys.stdout.isatty() else _width_beyond_a_pipe() or _FILE_WIDTH
    return _piped()(width=width, markup=False, emoji=False)


def _width_beyond_a_pipe() -> int | None:
    """Of the terminal that standard error is, where standard output goes into a pipe."""
    try:
        if stat.S_ISFIFO(os.fstat(sys.stdout.fileno()).st_mode):
            return os.get_terminal_size(sys.stderr.fileno()).columns or None
    except (OSError, ValueError):  # no terminal, or a stream that is no file
        pass
    return None


def _piped() -> "type[Console]":
    """rich's console, but a reader that has gone (`| head`) ends the output and not the command."""
    from rich.console import Console

    class Piped(Console):
        def on_broken_pipe(self) -> None:
            self.quiet = True
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    return Piped


def progress_bar() -> "AbstractContextManager[Progress]":
    """A bar on standard error with how many are done; silent where that is no terminal."""
    from rich.progress import MofNCompleteColumn, Progress

    return _bar(Progress, MofNCompleteColumn())


def bytes_bar(*, thread: bool = True) -> "AbstractContextManager[Progress]":
    """The same for bytes: how many of how many, and how many in a second. thread: whether one of
    its own draws it again and again; else whoever moves it does, and `refresh`, until
    `draw_by_thread`."""
    from rich.progress import DownloadColumn, TransferSpeedColumn

    return _bar(_begun(), DownloadColumn(), TransferSpeedColumn(), thread=thread)


def draw_by_thread(bar: "Progress") -> None:
    """Has a bar that had none be drawn by a thread from now on."""
    if not bar.disable and not bar.live.auto_refresh:
        bar.live.stop()
        bar.live.auto_refresh = True
        bar.live.start(refresh=True)


@contextmanager
def _bar(
    kind: "type[Progress]", *counts: "ProgressColumn", thread: bool = True
) -> Iterator["Progress"]:
    from rich.console import Console
    from rich.progress import BarColumn, TimeElapsedColumn, TimeRemainingColumn

    terminal = Console(stderr=True)
    columns = (
        BarColumn(bar_width=bar_width(terminal)),
        *counts,
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        last_words(),
    )
    with kind(*columns, console=terminal, transient=True, expand=True, auto_refresh=thread,
              disable=not sys.stderr.isatty()) as bar:  # fmt: skip
        yield bar


def bar_width(terminal: "Console") -> int:
    """Of the bar alone: a narrow terminal has to have room for the counts beside it."""
    return _WIDE_BAR if terminal.width >= 100 else _NARROW_BAR


def last_words() -> "ProgressColumn":
    """What a bar is at, in the room that all else leaves; cut off where it is too long."""
    from rich.progress import TextColumn
    from rich.table import Column

    column = Column(ratio=1, no_wrap=True, overflow="ellipsis")
    return TextColumn("{task.description}", markup=False, table_column=column)


def _begun() -> "type[Progress]":
    """rich's progress without the bars of which nothing is known yet, not even how long they are:
    where a command fails at once there is none to take away."""
    from rich.progress import Progress
    from rich.table import Table

    class Begun(Progress):
        def make_tasks_table(self, tasks: "Iterable[Task]") -> Table:
            return super().make_tasks_table([task for task in tasks if task.total is not None])

    return Begun


def show_step(bar: "Progress", task: "TaskID", step: str, done: int, total: int) -> None:
    """Moves the bar; where there is no terminal to draw one on, a line a step."""
    bar.update(task, description=step, completed=done, total=total)
    if not sys.stderr.isatty():
        print(f"[{done}/{total}] {step}", file=sys.stderr, flush=True)


def check_target(target: str | None) -> None:
    """Raises OutputError where a file could not be written; told before the work, not after."""
    from weightlens.errors import OutputError

    if target is None or target == "-":
        return
    file = Path(target)
    if not target or file.is_dir() or not file.absolute().parent.is_dir():
        raise OutputError(f"{target!r}: not a file in a folder that exists")


def write_text(text: str, target: str) -> None:
    """Writes text to a file, or to standard output for `-`. Raises OutputError."""
    from weightlens.record import write_output

    if target == "-":
        print(text, end="")
    else:
        write_output(Path(target), text)


def name_written(**files: str | Path | None) -> None:
    """Names the files that were written on standard output, each with what it is; nothing where
    one of them was standard output, which then holds that alone."""
    if "-" in map(str, files.values()):
        return
    for kind, file in files.items():
        if file is not None:
            console().print(f"{kind}: {file}", soft_wrap=True)
