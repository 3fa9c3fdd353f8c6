"""Where output goes: results to stdout, progress to stderr."""

import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, ProgressColumn, TaskID


def console() -> "Console":
    """Standard output. Honours NO_COLOR; where it is no terminal, lines are 120 wide."""
    width = None if sys.stdout.isatty() else 120
    return _piped()(width=width, markup=False, emoji=False)


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
    from rich.progress import MofNCompleteColumn

    return _bar(MofNCompleteColumn())


def bytes_bar(*, thread: bool = True) -> "AbstractContextManager[Progress]":
    """The same for bytes: how many of how many, and how many in a second. thread: whether one of
    its own draws it again and again; else whoever moves it does, and `refresh`, until
    `draw_by_thread`."""
    from rich.progress import DownloadColumn, TransferSpeedColumn

    return _bar(DownloadColumn(), TransferSpeedColumn(), thread=thread)


def draw_by_thread(bar: "Progress") -> None:
    """Has a bar that had none be drawn by a thread from now on."""
    if not bar.disable and not bar.live.auto_refresh:
        bar.live.stop()
        bar.live.auto_refresh = True
        bar.live.start(refresh=True)


@contextmanager
def _bar(*counts: "ProgressColumn", thread: bool = True) -> Iterator["Progress"]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30),
        *counts,
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True, auto_refresh=thread,
                  disable=not sys.stderr.isatty()) as bar:  # fmt: skip
        yield bar


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
