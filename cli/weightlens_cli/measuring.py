"""The bar of an analysis: matrices done, how fast, and how long it will take."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from weightlens.survey.work import Progress as Callback
    from weightlens.survey.work import Step


@contextmanager
def measuring_bar() -> Iterator["Callback"]:
    """A bar on standard error that moves with the arithmetic done; silent without a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        BarColumn(bar_width=24),
        TextColumn("{task.fields[counts]} matrices"),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}"),
        TextColumn("{task.description}", markup=False),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True,
                  disable=not sys.stderr.isatty()) as bar:  # fmt: skip
        yield Meter(bar, bar.add_task("", total=None, counts="0", rate="", left="")).show


class Meter:
    """Turns steps into what the bar says."""

    def __init__(self, bar: "Progress", task: "TaskID") -> None:
        self._bar, self._task = bar, task
        self._began: float | None = None
        self._flop_before = 0.0

    def show(self, step: "Step") -> None:
        """Moves the bar. What an interrupted run had done does not count towards the speed."""
        if self._began is None:
            self._began, self._flop_before = time.monotonic(), step.flop
        seconds = time.monotonic() - self._began
        flop = step.flop - self._flop_before
        rate, left = "", ""
        if seconds > 0.2 and flop > 0:
            rate = f"{flop / seconds / 1e9:,.0f} GFLOP/s {step.bytes / seconds / 1e9:.2f} GB/s"
            left = f"{clock((step.total_flop - step.flop) * seconds / flop)} left"
        self._bar.update(
            self._task,
            completed=step.flop,
            total=step.total_flop or None,
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
