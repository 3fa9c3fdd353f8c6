"""Jobs done side by side: one torch thread to each worker, the largest jobs first.

Sums over a block then do not depend on how many threads share them, and reading, arithmetic and
writing of different tensors overlap. A worker is a thread here, and a process of its own in
weightlens.merge.processes; both tell what they come to by messages, in any order.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Event, Lock, Thread
from typing import Any, Generic, TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")

Tell = Callable[[int], None]
"""Told how far an item has come: the bytes that were written since the last time."""

WAIT = 0.2
"""Seconds after which the one who waits for workers looks up: an interrupt is noticed then."""


class Stopped(Exception):
    """Raised inside a job when another one has failed."""


@dataclass(frozen=True)
class Came:
    """So many bytes further."""

    count: int


@dataclass(frozen=True)
class Done:
    """The item at a place is finished, with this result."""

    place: int
    result: Any


@dataclass(frozen=True)
class Failed:
    """An item is not to be finished. The worker ends."""

    error: BaseException


@dataclass(frozen=True)
class Ended:
    """Nothing is left for this worker."""


Message = Came | Done | Failed | Ended


@dataclass(frozen=True)
class Work(Generic[Item, Result]):
    """Items, and what is to become of them.

    do: what a worker does with one, with somebody to tell how far it has come. done, came: called
    in the caller's thread after each item, and when somebody was told. idle: called there every
    now and then.
    """

    items: Sequence[Item]
    size: Callable[[Item], int]
    do: Callable[[Item, Tell], Result]
    done: Callable[[Item, Result], None]
    came: Tell = lambda count: None
    idle: Callable[[], None] = lambda: None

    def ordered(self) -> list[Item]:
        """The largest first, equals in their order."""
        return sorted(self.items, key=self.size, reverse=True)


class Workers(ABC):
    """count: how many work at a time."""

    def __init__(self, count: int | None = None) -> None:
        """count: as many as the process may use processors where none is given."""
        self.count = worker_count(count)

    def check(self) -> None:
        """Raises Stopped, inside a job, where the others have been told to end."""
        return

    @abstractmethod
    def each(self, work: Work[Item, Result]) -> None:
        """Does every item. The first exception, of a worker or of what is called here, ends the
        others before they are through and is raised here."""


class Threads(Workers):
    """Workers that share this process, and take turns at Python's lock."""

    def __init__(self, count: int | None = None) -> None:
        """As in Workers."""
        super().__init__(count)
        self._stop = Event()

    def check(self) -> None:
        """Long jobs ask between two blocks."""
        if self._stop.is_set():
            raise Stopped

    def each(self, work: Work[Item, Result]) -> None:
        """As in Workers."""
        ordered = work.ordered()
        places, lock = iter(range(len(ordered))), Lock()
        messages: SimpleQueue[Message] = SimpleQueue()

        def take() -> int | None:
            with lock:
                return None if self._stop.is_set() else next(places, None)

        with single_threaded():
            threads = [
                Thread(target=serve, args=(ordered, take, work.do, messages.put))
                for _ in range(min(self.count, len(ordered)))
            ]
            try:
                for thread in threads:
                    thread.start()
                self._listen(messages, len(threads), work, ordered)
            except BaseException:
                self._stop.set()
                raise
            finally:
                for thread in threads:
                    if thread.ident is not None:  # it began
                        thread.join()

    def _listen(
        self,
        messages: "SimpleQueue[Message]",
        running: int,
        work: Work[Item, Result],
        ordered: Sequence[Item],
    ) -> None:
        while running:
            try:
                message = messages.get(timeout=WAIT)
            except Empty:
                work.idle()
                continue
            if isinstance(message, Ended):
                running -= 1
            else:
                heed(message, work, ordered)


def serve(
    ordered: Sequence[Item],
    take: Callable[[], int | None],
    do: Callable[[Item, Tell], Any],
    send: Callable[[Message], None],
) -> None:
    """What a worker does: items for as long as there are any, and a message about each.

    take: the place of the next item, None where there is none.
    """
    torch.set_num_threads(1)
    try:
        while (place := take()) is not None:
            send(Done(place, do(ordered[place], lambda count: send(Came(count)))))
    except BaseException as error:
        send(Failed(error))
    send(Ended())


def heed(message: Message, work: Work[Item, Result], ordered: Sequence[Item]) -> None:
    """Does what a message asks for. Raises the error that a worker has met."""
    match message:
        case Came(count):
            work.came(count)
        case Done(place, result):
            work.done(ordered[place], result)
        case Failed(error):
            raise error
        case Ended():
            return  # whoever listens knows how many are left


def worker_count(count: int | None = None) -> int:
    """As many as asked for, or as the process may use processors."""
    return count or len(os.sched_getaffinity(0))


@contextmanager
def single_threaded() -> Iterator[None]:
    """One torch thread, in this thread and in those that begin inside."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
