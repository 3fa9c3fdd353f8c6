"""The checker's process: it holds the tests, asks the program through a pipe, and judges.

Its memory is closed to the program's process (not dumpable, so neither ptrace nor /proc opens it)
and, where there are namespaces, it is the first process of its own, which signals from within
cannot end, and with which all others end.
"""

from __future__ import annotations

import os
import select
import sys
import time

from weightlens.evaluate.code.jail import isolation
from weightlens.evaluate.code.jail.peer import Gone, Peer, ProgramError, named

if sys.flags.no_site:  # the far side: without enum, and what only annotations need
    import _signal as signal  # type: ignore[import-not-found]
else:
    import signal
    from collections.abc import Callable
    from types import FrameType

TICK = 0.05
"""Seconds between two looks at the clock, the memory and the number of processes."""


class Ended(BaseException):
    """The program is over. No Exception: a test's own `except` must not swallow it."""

    def __init__(self, outcome: str, detail: str) -> None:
        self.outcome, self.detail = outcome, detail


class Judged:
    """How it ended: an outcome of `limits.Outcome`, and one line on why."""

    def __init__(self, outcome: str, detail: str) -> None:
        self.outcome, self.detail = outcome, detail


class Watch:
    """Looks, whenever the timer rings, at what the program uses and whether it is still there.

    program: its process. deadline: in seconds of the monotonic clock. reader: the pipe that takes
    the verdict.
    """

    def __init__(
        self,
        program: int,
        reader: int,
        deadline: float,
        *,
        memory_mib: int,
        processes: int,
        own_namespace: bool,
    ) -> None:
        self.program, self.deadline = program, deadline
        self.memory_mib, self.processes = memory_mib, processes
        self.own_namespace = own_namespace
        self.looking = False
        self.hangups = select.poll()
        self.hangups.register(reader, 0)

    def start(self) -> None:
        # the first process of a namespace hears from within only what it has a handler for
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGALRM, self.look)
        signal.setitimer(signal.ITIMER_REAL, TICK, TICK)

    def stop(self) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)

    def look(self, number: int, frame: FrameType | None) -> None:
        """Raises Ended when the program has died or passed a limit."""
        if self.looking:
            return  # the timer, or the program, rang again meanwhile
        self.looking = True
        try:
            self.raise_if_over()
            self.raise_if_dead()
        finally:
            self.looking = False

    def raise_if_over(self) -> None:
        """Raises Ended where a limit is passed, or nobody is there to hear the verdict."""
        if time.monotonic() > self.deadline:
            raise Ended("timed out", "the wall clock ran out")
        # the signal for a parent's death does not pass bubblewrap where that has run as root
        if self.hangups.poll(0):
            raise Ended("killed", "nobody waits for the verdict")
        family = isolation.family(own_namespace=self.own_namespace)
        if len(family) > self.processes:
            raise Ended("killed", f"more than {self.processes} processes")
        if isolation.resident_mib(family) > self.memory_mib:
            raise Ended("memory", f"more than {self.memory_mib} MiB in all its processes")

    def raise_if_dead(self) -> None:
        """Raises Ended with the cause of death."""
        # without reaping: the timer may ring in the middle of this, and ask again
        how = os.WEXITED | os.WNOHANG | os.WNOWAIT
        end = os.waitid(os.P_PID, self.program, how)
        if end is None:
            return
        if end.si_code == os.CLD_EXITED:
            code = end.si_status
            raise Ended("failed", f"ended itself with code {code} before the tests were through")
        if end.si_status == signal.SIGXCPU:
            raise Ended("timed out", "the CPU time ran out")
        raise Ended("killed", f"died of {_signal_name(end.si_status)}")


def _signal_name(number: int) -> str:
    names = (name for name, value in vars(signal).items() if value == number)
    return next((name for name in names if name.startswith("SIG") and "_" not in name), str(number))


def verdict(
    peer: Peer, program: str, checks: tuple[str, str, str, tuple[str, ...]] | None
) -> Judged:
    """Has the program's text run, then runs the checks against it.

    checks: header, setup, tests and the names that stand for objects of the program; None asks
    for no more than that the program reaches its end. Ended and Gone pass through.
    """
    header, setup, tests, names = checks or ("", "", "", ())
    namespace: dict[str, object] = {"__name__": "tests"}
    try:
        exec(compile(header, "<header>", "exec"), namespace)
        exec(compile(setup, "<setup>", "exec"), namespace)
        peer.ask("run", setup, "<setup>")
        peer.ask("run", program, "<program>")
        for name in names:
            namespace[name] = _global(peer, name)
        exec(compile(tests, "<tests>", "exec"), namespace)
    except (Gone, Ended):
        raise
    except BaseException as error:
        account = ": ".join(filter(None, _account(error, tests)))
        return Judged("memory" if isinstance(error, MemoryError) else "failed", account)
    return Judged("passed", "")


def _global(peer: Peer, name: str) -> object:
    try:
        return peer.ask("global", name)
    except KeyError:
        raise NameError(f"the program defines no {name}") from None


def _account(error: BaseException, tests: str) -> tuple[str, ...]:
    """The error, and the line of the tests that it came from."""
    line, trace = 0, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<tests>":
            line = trace.tb_lineno
        trace = trace.tb_next
    # a program's own exception names itself
    own = (str(error),) if isinstance(error, ProgramError) else named(error)
    return (*own, tests.splitlines()[line - 1].strip() if line else "")


def watched(watch: Watch, work: Callable[[], Judged]) -> Judged:
    """What the work came to, or what ended the program meanwhile."""
    try:
        try:
            watch.start()
            return work()
        except Gone as gone:
            # death and a closed pipe arrive in any order: give the first a moment
            for _ in range(20):
                watch.raise_if_dead()
                time.sleep(0.01)
            return Judged("killed", f"the program does not answer: {gone}")
        finally:
            watch.stop()
    except Ended as ended:
        return Judged(ended.outcome, ended.detail)
