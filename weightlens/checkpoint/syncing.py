"""Bringing what is written to the disk while more is being written.

The disk is often slower than the merge; if it began only at the end, the end would wait for all of
it.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

BEGIN_BYTES = 1 << 26
"""What is written and not on the disk before a thread of its own brings it there."""


class Syncing:
    """Counts bytes written, and calls `sync` beside the work as often as it can. How much may wait
    for the disk at most is the system's to say: it makes those who write wait."""

    def __init__(self, sync: Callable[[], None]) -> None:
        """sync: brings all that was written before the call to the disk; may raise OSError."""
        self._sync = sync
        self._bytes = 0
        self._thread: ThreadPoolExecutor | None = None
        self._under_way: Future[None] | None = None

    def wrote(self, count: int) -> None:
        """Counts bytes; never waits. Raises what `sync` raised."""
        self._bytes += count
        if self._bytes < BEGIN_BYTES:
            return
        if self._under_way is not None:
            if not self._under_way.done():
                return
            self._under_way.result()
        self._thread = self._thread or ThreadPoolExecutor(1, thread_name_prefix="syncing")
        self._under_way, self._bytes = self._thread.submit(self._sync), 0

    def finish(self) -> None:
        """Brings the rest to the disk. Raises what `sync` raised, now or before."""
        if self._under_way is not None:
            self._under_way.result()
        self._sync()

    def close(self) -> None:
        """Waits for what is under way, whatever comes of it."""
        if self._thread is not None:
            self._thread.shutdown()
