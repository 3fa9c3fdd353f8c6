"""Jobs done side by side: one torch thread to each worker, the largest jobs first.

Sums over a block then do not depend on how many threads share them, and reading, arithmetic and
writing of different tensors overlap.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from threading import Event
from typing import TypeVar

import torch

Item = TypeVar("Item")


class Stopped(Exception):
    """Raised inside a job when another one has failed."""


class Workers:
    """A pool of threads. stop: set when jobs should end early; long jobs ask `check`."""

    def __init__(self, count: int | None = None) -> None:
        """count: threads; as many as the process may use processors where none is given."""
        self.count = count or len(os.sched_getaffinity(0))
        self._stop = Event()

    def check(self) -> None:
        """Raises Stopped where the others have been told to end."""
        if self._stop.is_set():
            raise Stopped

    def each(
        self,
        items: Sequence[Item],
        size: Callable[[Item], int],
        do: Callable[[Item], None],
        done: Callable[[Item], None],
    ) -> None:
        """Does every item, and calls `done` after each in the caller's thread.

        The first exception ends the others at their next check and is raised here.
        """
        ordered = sorted(items, key=size, reverse=True)
        with (
            single_threaded(),
            ThreadPoolExecutor(
                self.count, initializer=torch.set_num_threads, initargs=(1,)
            ) as pool,
        ):
            waiting: dict[Future[None], Item] = {}
            try:
                pending = iter(ordered)
                for item in pending:
                    waiting[pool.submit(do, item)] = item
                    if len(waiting) > 2 * self.count:
                        self._settle(waiting, done)
                while waiting:
                    self._settle(waiting, done)
            except BaseException:
                self._stop.set()
                pool.shutdown(cancel_futures=True)
                raise

    def _settle(self, waiting: dict[Future[None], Item], done: Callable[[Item], None]) -> None:
        # a timeout, so that an interrupt from the keyboard is noticed in between
        finished, _ = wait(waiting, timeout=0.2, return_when=FIRST_COMPLETED)
        for future in finished:
            item = waiting.pop(future)
            future.result()
            done(item)


@contextmanager
def single_threaded() -> Iterator[None]:
    """One torch thread, in this thread and in those that begin inside."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
