"""The first process of a run: reads its orders, leaves the machine, begins program and checker.

Orders and checks come through descriptor 0, in two messages; the verdict leaves through
descriptor 1, after one message that says that everything stands.
"""

from __future__ import annotations

import os
import sys
import time

from weightlens.evaluate.code.jail import isolation, wire
from weightlens.evaluate.code.jail.checker import Judged, Watch, verdict, watched
from weightlens.evaluate.code.jail.peer import CALLS, Peer, read_message, write_all
from weightlens.evaluate.code.jail.subject import become

if not sys.flags.no_site:  # annotations only: on the far side these cost more than all the rest
    from typing import Any, Never


def _no_references(*_: object) -> Any:
    raise wire.WireError("no object passes here")


def read(descriptor: int) -> Any:
    """One plain value."""
    return wire.decode(read_message(descriptor), _no_references)


def write(descriptor: int, value: object) -> None:
    """One plain value."""
    body = wire.encode(value, _no_references)
    write_all(descriptor, len(body).to_bytes(4, "big") + body)


def main() -> Never:
    """Carries out one order and ends; what goes wrong on the way in is the first message out."""
    # standard input and output are nobody's: tests may print
    job, answer = os.dup(0), os.dup(1)
    _silence(0, 1)
    try:
        orders = read(job)
        isolation.control(isolation.PARENT_DEATH, isolation.KILL)
        isolation.limit(orders, others=_enter(orders))
    except (OSError, ValueError) as error:
        write(answer, ("broken", f"{error.__class__.__name__}: {error}"))
        os._exit(1)
    write(answer, ("ready", ""))
    _silence(2)
    judged = _judge(orders, job, answer)
    if orders["wall"] == "none":
        _sweep()
    write(answer, (judged.outcome, judged.detail))
    os._exit(0)


def _enter(orders: dict[str, Any]) -> int | None:
    """Goes where the program shall run; the processes that this user has there besides."""
    user = orders["user"]
    if orders["wall"] == "namespaces":
        isolation.leave(own_user=user is None)
        _wait_outside()
        isolation.hide(
            orders["ground"], orders["shown"], orders["links"], folder_mib=orders["folder_mib"]
        )
    elif orders["wall"] == "none":
        isolation.control(isolation.SUBREAPER, 1)
        if user is not None:
            os.chown(orders["ground"], user, user)
        os.chdir(orders["ground"])
    return _confine(orders, user)


def _confine(orders: dict[str, Any], user: int | None) -> int | None:
    isolation.drop(user)
    # a change of user hides this process's own /proc entries from it
    isolation.control(isolation.DUMPABLE, 1)
    own_user = user not in (None, isolation.NOBODY) or _own_user_namespace(orders["machine"])
    others = 0 if own_user else None
    if orders["wall"] == "none":
        others = isolation.tasks_of_this_user()
    # a change of user forgets this, too
    isolation.control(isolation.PARENT_DEATH, isolation.KILL)
    isolation.control(isolation.DUMPABLE, 0)
    return others


def _own_user_namespace(machine: str) -> bool:
    """Whether processes are counted apart: a user namespace of its own, Linux 5.14 or later."""
    release = os.uname().release.split(".")
    recent = (int(release[0]), int(release[1].partition("-")[0])) >= (5, 14)
    return recent and os.readlink("/proc/self/ns/user") != machine


def _wait_outside() -> None:
    """Forks: the first process of the new namespace returns, the one outside waits for its end."""
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        os._exit(0)


def _silence(*descriptors: int) -> None:
    nothing = os.open("/dev/null", os.O_RDWR)
    for descriptor in descriptors:
        os.dup2(nothing, descriptor)
    os.close(nothing)


def _judge(orders: dict[str, Any], job: int, answer: int) -> Judged:
    deadline = time.monotonic() + orders["wall_ms"] / 1000
    asked, answered = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        become(asked[0], answered[1])
    os.close(asked[0])
    os.close(answered[1])
    watch = Watch(
        child,
        answer,
        deadline,
        memory_mib=orders["memory_mib"],
        processes=orders["processes"],
        own_namespace=orders["wall"] != "none",
    )
    # read only now: no copy of the tests is ever in the program's memory
    checks = read(job)
    peer = Peer(answered[0], asked[1], CALLS)
    return watched(watch, lambda: verdict(peer, orders["program"], checks))


def _sweep() -> None:
    """Ends whatever descends from this process, however it detached itself."""
    until = time.monotonic() + 2
    while (left := isolation.family(own_namespace=False)) and time.monotonic() < until:
        for process in left:
            try:
                os.kill(process, isolation.KILL)
            except ProcessLookupError:
                continue  # ended in between
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
