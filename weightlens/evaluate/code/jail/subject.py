"""The program's own process: it runs what the checker sends it, and answers its calls.

Nothing here is trusted once the program has begun: it may read, change or imitate all of it. It
holds no test and no verdict, only two pipes to the checker.
"""

from __future__ import annotations

import os
import sys

from weightlens.evaluate.code.jail import isolation
from weightlens.evaluate.code.jail.peer import EVERYTHING, Gone, Peer

if not sys.flags.no_site:  # annotations only: on the far side these cost more than all the rest
    from typing import Never

    from weightlens.evaluate.code.jail.peer import Operations


def become(incoming: int, outgoing: int) -> Never:
    """Does what the checker asks, first of all to run the program's text, until that is gone."""
    _tidy(incoming, outgoing)
    # not "__main__": what a program does when it is the main one is no part of the answer
    module = type(sys)("program")
    sys.modules["program"] = module
    answers: Operations = {
        **EVERYTHING,
        "run": lambda text, name: exec(compile(text, name, "exec"), module.__dict__),
        "global": module.__dict__.__getitem__,
    }
    try:
        Peer(incoming, outgoing, answers).serve()
    except Gone:
        os._exit(0)


def _tidy(incoming: int, outgoing: int) -> None:
    """A session and silence of its own: no descriptor is left but the two to the checker."""
    os.setsid()
    nothing = os.open("/dev/null", os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    first, second = sorted((incoming, outgoing))
    os.closerange(3, first)
    os.closerange(first + 1, second)
    os.closerange(second + 1, os.sysconf("SC_OPEN_MAX"))
    isolation.control(isolation.PARENT_DEATH, isolation.KILL)
    # the checker hid its memory before it forked; a program's own memory is its own again
    isolation.control(isolation.DUMPABLE, 1)
