"""Workers that are processes: copies of this one, forked when the work begins.

Threads take turns at Python's lock, between any two operations on a block, and lose a third of two
processors over it; processes lose nothing. They share what the parent has read so far, and open
files; what they find out comes back through a pipe. They die with it, however it ends, so that
nobody writes into an output that another run has taken over.
"""

import ctypes
import gc
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from multiprocessing.sharedctypes import Synchronized

import torch

from weightlens.errors import OutputError
from weightlens.merge.work import (
    WAIT,
    Ended,
    Failed,
    Item,
    Message,
    Result,
    Threads,
    Work,
    Workers,
    heed,
    serve,
    single_threaded,
)

_PR_SET_PDEATHSIG = 1
"""Of prctl(2): the signal that a process gets when its parent dies."""


def workers_here(count: int | None = None) -> Workers:
    """Processes where this one can be forked without harm, threads where not."""
    if can_fork():
        with suppress(OSError):  # no memory that processes share, as in some containers
            return Processes(count)
    return Threads(count)


def can_fork() -> bool:
    """Whether a copy of this process could go on: one with other threads might wait for ever for a
    lock that one of them held, and one that uses a GPU cannot use it any more."""
    return (
        sys.platform == "linux"
        and all(_is_harmless(thread) for thread in threading.enumerate())
        and not multiprocessing.current_process().daemon
        and not torch.cuda.is_initialized()
    )


def _is_harmless(thread: threading.Thread) -> bool:
    """This one, and the one that tqdm keeps from its first bar on: no worker asks for its locks."""
    return thread is threading.current_thread() or type(thread).__name__ == "TMonitor"


class Processes(Workers):
    """Workers with a process each. Results and exceptions are pickled on their way."""

    def __init__(self, count: int | None = None) -> None:
        """As in Workers. Raises OSError where processes can share no memory."""
        super().__init__(count)
        self._taken = multiprocessing.get_context("fork").Value("q", 0)

    def each(self, work: Work[Item, Result]) -> None:
        """As in Workers. Raises OutputError where a worker is killed from outside."""
        ordered = work.ordered()
        running: dict[Connection, BaseProcess] = {}
        try:
            with single_threaded(), _forking():
                self._taken.value = 0
                for _ in range(min(self.count, len(ordered))):
                    results, process = _forked(ordered, self._taken, work)
                    running[results] = process
            while running:
                ready = wait(list(running), WAIT)
                for results in [each for each in running if each in ready]:
                    message = _received(results, running[results])
                    if isinstance(message, Ended):
                        running.pop(results).join()
                    else:
                        heed(message, work, ordered)
                if not ready:
                    work.idle()
        finally:
            for process in running.values():
                process.kill()
            for process in running.values():
                process.join()


@contextmanager
def _forking() -> Iterator[None]:
    """Without a warning of the idle threads of OpenBLAS and OpenMP, which stand a fork; and an
    interrupt has to wait, so that none comes between a worker and the list of them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*fork.*", DeprecationWarning)
            yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _forked(
    ordered: Sequence[Item], taken: "Synchronized[int]", work: Work[Item, Result]
) -> tuple[Connection, BaseProcess]:
    """A worker, and where its messages come from."""
    parent = os.getpid()
    results, sending = multiprocessing.Pipe(duplex=False)

    def take() -> int | None:
        with taken.get_lock():
            place = taken.value
            taken.value = place + 1
        return place if place < len(ordered) else None

    def run() -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears of it and ends its workers
        _die_with(parent)
        gc.freeze()  # what is shared with the parent is not looked through, and so not copied
        serve(ordered, take, work.do, lambda message: sending.send(_portable(message)))

    process = multiprocessing.get_context("fork").Process(target=run, daemon=True)
    process.start()
    sending.close()  # the worker's is the only one left: its end is the end of the messages
    return results, process


def _die_with(parent: int) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it was faster
        os._exit(1)


def _portable(message: Message) -> Message:
    """A message that can be sent: errors tell where they were raised, and those that cannot be
    pickled at least what they said."""
    if not isinstance(message, Failed):
        return message
    error = message.error
    error.add_note("".join(traceback.format_exception(error)))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        error = RuntimeError("".join(traceback.format_exception_only(error)))
    return Failed(error)


def _received(results: Connection, process: BaseProcess) -> Message:
    """The next message. Raises OutputError where none can come any more."""
    try:
        message: Message = results.recv()
    except (EOFError, OSError):
        process.join()
        raise OutputError(
            f"a worker ended before its time (exit code {process.exitcode}), most likely killed "
            "for want of memory; the same command goes on from what is finished, and takes less "
            "memory with --workers 1"
        ) from None
    return message
