"""Bars of progress: who draws them."""

import io
import threading

from rich.console import Console
from rich.progress import Progress

from weightlens_cli.screen import bytes_bar, draw_by_thread


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
