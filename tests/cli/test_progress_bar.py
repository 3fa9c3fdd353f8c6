"""Bars of progress: who draws them, and what they show where; how wide the output is."""

import io
import os
import sys
import threading
from pathlib import Path

import pytest
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress

from weightlens.survey.work import Step
from weightlens_cli import screen
from weightlens_cli.measuring import measuring_bar
from weightlens_cli.screen import bytes_bar, draw_by_thread, last_words


def drawn(*, terminal: bool) -> Progress:
    """A bar without a thread."""
    console = Console(file=io.StringIO(), force_terminal=terminal)
    return Progress(console=console, auto_refresh=False, disable=not terminal)


def test_a_bar_without_a_thread_gets_one_once() -> None:
    before = threading.active_count()
    with drawn(terminal=True) as bar:
        assert threading.active_count() == before
        draw_by_thread(bar)
        draw_by_thread(bar)
        (thread,) = (t for t in threading.enumerate() if type(t).__name__ == "_RefreshThread")
    thread.join(10)
    assert threading.active_count() == before


def test_where_there_is_no_terminal_nothing_draws() -> None:
    before = threading.active_count()
    with drawn(terminal=False) as bar:
        draw_by_thread(bar)
        assert threading.active_count() == before
    with bytes_bar(thread=False) as silent:
        draw_by_thread(silent)
        assert silent.disable
        assert threading.active_count() == before


def on_a_terminal(monkeypatch: pytest.MonkeyPatch, width: int) -> io.StringIO:
    """What is written to standard error from now on, which is taken for a terminal."""
    written = io.StringIO()
    monkeypatch.setattr(written, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys, "stderr", written)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", str(width))
    return written


def test_a_long_name_leaves_room_for_bar_and_counts() -> None:
    console = Console(file=io.StringIO(), width=60)
    with Progress(MofNCompleteColumn(), last_words(), console=console, expand=True,
                  auto_refresh=False) as bar:  # fmt: skip
        bar.add_task("/a/very/long/path" * 9, total=60, completed=7)
        console.print(bar.get_renderable())
    shown = console.file.getvalue().splitlines()[0]  # type: ignore[attr-defined]
    assert shown.split()[0] == "7/60"
    assert len(shown.rstrip()) <= 60
    assert shown.rstrip().endswith("…")


def test_nothing_is_drawn_before_it_is_known_how_much_there_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written = on_a_terminal(monkeypatch, 80)
    with bytes_bar(thread=False) as bar:
        task = bar.add_task("merging", total=None)
        bar.refresh()
        assert "merging" not in written.getvalue()
        bar.update(task, completed=500, total=1000, refresh=True)
        assert "0.5/1.0 kB" in written.getvalue()


@pytest.mark.parametrize(("width", "speed"), [(60, False), (80, False), (120, True)])
def test_a_narrow_terminal_sees_counts_and_time_rather_than_speed(
    monkeypatch: pytest.MonkeyPatch, width: int, speed: bool
) -> None:
    written = on_a_terminal(monkeypatch, width)
    clock = iter([0.0, *[2.0] * 9])
    monkeypatch.setattr("weightlens_cli.measuring.time.monotonic", lambda: next(clock))
    with measuring_bar() as show:
        for done in (0, 30):
            show(Step(done, 60, "model.layers.10.mlp.down_proj.weight", bytes=4_000_000_000))
    last = written.getvalue()
    assert "30/60 tensors" in last
    assert "0:02 left" in last
    assert ("2.00 GB/s" in last) == speed


def test_a_pipe_is_as_wide_as_the_terminal_where_it_will_be_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    read, write = os.pipe()
    size = os.terminal_size((80, 24))
    monkeypatch.setattr(os, "get_terminal_size", lambda fd: size)
    monkeypatch.setattr(sys, "stderr", open(os.devnull, "w"))
    with open(write, "w") as pipe, open(read), open(tmp_path / "file", "w") as file:
        for stream, width in ((pipe, 80), (file, 120), (io.StringIO(), 120)):
            monkeypatch.setattr(sys, "stdout", stream)
            assert screen.console().width == width
