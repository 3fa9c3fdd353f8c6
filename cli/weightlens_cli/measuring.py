"""The bar of an analysis: matrices done, how fast, and how long it will take."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from weightlens_cli.screen import bar_width, last_words

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from weightlens.survey.work import Progress as Callback
    from weightlens.survey.work import Step

_WIDE = 100
"""Columns of a terminal from which on there is room for the speed."""


@contextmanager
def measuring_bar() -> Iterator["Callback"]:
    """A bar on standard error that moves with the work done; silent without a terminal. The speed
    is left out where it is narrow."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    terminal = Console(stderr=True)
    rate = [TextColumn("{task.fields[rate]}")] if terminal.width >= _WIDE else []
    columns = (
        BarColumn(bar_width=bar_width(terminal)),
        TextColumn("{task.fields[counts]} tensors"),
        *rate,
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}"),
        last_words(),
    )
    with Progress(*columns, console=terminal, transient=True, expand=True,
                  disable=not sys.stderr.isatty()) as bar:  # fmt: skip
        yield Meter(bar, bar.add_task("", total=None, counts="0", rate="", left="")).show


class Meter:
    """Turns steps into what the bar says: by arithmetic where it is counted, else by tensors."""

    def __init__(self, bar: "Progress", task: "TaskID") -> None:
        self._bar, self._task = bar, task
        self._began: float | None = None
        self._before = 0.0

    def show(self, step: "Step") -> None:
        """Moves the bar. What an interrupted run had done does not count towards the speed."""
        done, total = (step.flop, step.total_flop) if step.total_flop else (step.done, step.total)
        if self._began is None:
            self._began, self._before = time.monotonic(), done
        seconds, progress = time.monotonic() - self._began, done - self._before
        rate, left = "", ""
        if seconds > 0.2 and progress > 0:
            rate = f"{step.bytes / seconds / 1e9:.2f} GB/s"
            if step.total_flop:
                rate = f"{progress / seconds / 1e9:,.0f} GFLOP/s {rate}"
            left = f"{clock((total - done) * seconds / progress)} left"
        self._bar.update(
            self._task,
            completed=done,
            total=total or None,
            counts=f"{step.done}/{step.total}",
            rate=rate,
            left=left,
            description=step.name,
        )


def clock(seconds: float) -> str:
    """A duration as 1:02:03 or 2:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
