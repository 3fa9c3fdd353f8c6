"""Bringing what is written to the disk while more is being written.

The disk is often slower than the merge; if it began only at the end, the end would wait for all of
it.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock

BEGIN_BYTES = 1 << 26
"""What is written and not on the disk before a thread of its own brings it there."""
SYNC_BYTES = 1 << 30
"""What is written and not on the disk at most."""


class Syncing:
    """Counts bytes written, from any thread, and calls `sync` beside them often enough."""

    def __init__(self, sync: Callable[[], None]) -> None:
        """sync: brings all that was written before the call to the disk; may raise OSError."""
        self._sync = sync
        self._bytes, self._lock = 0, Lock()
        self._thread: ThreadPoolExecutor | None = None
        self._under_way: Future[None] | None = None

    def wrote(self, count: int) -> None:
        """Counts bytes. Waits where too many are not on the disk. Raises what `sync` raised."""
        with self._lock:
            self._bytes += count
            idle = self._under_way is None or self._under_way.done()
            if self._bytes < (BEGIN_BYTES if idle else SYNC_BYTES):
                return
            if self._under_way is not None:
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
