"""What protects the machine from a program: in words, and tried out."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable

from weightlens.errors import EvaluationError
from weightlens.evaluate.code.jail import isolation
from weightlens.evaluate.code.launch import Wall, readable_by_others
from weightlens.evaluate.code.limits import Checks, Finished, Limits

Run = Callable[[str, Checks], Finished]

_PROBE = """
import ctypes, decimal, json, math, os, re  # found where the interpreter was made visible

def namespace(name):
    return os.readlink("/proc/self/ns/" + name)

def sees(path):
    return os.path.exists(path)

def writes(path):
    try:
        open(path, "w").close()
    except OSError:
        return False
    return True

def privileged():
    with open("/proc/self/status") as lines:
        return any(line.startswith("CapEff") and int(line.split()[1], 16) for line in lines)
"""


_NEVER = (
    "system calls are not filtered",
    "the memory of all processes together is looked at every 50 ms, not confined",
)


def described(wall: Wall, limits: Limits) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What is active behind this wall and what is not, in words."""
    always = (str(limits), "no environment, no open files, no standard input, no output kept")
    if wall == "none":
        rights = "your own rights" if _keeps_rights() else "the rights of a user who owns nothing"
        found = "an empty temporary folder", "processes left at the end looked for and ended"
        return (*found, *always), (
            "the network can be reached",
            f"files outside the folder can be read and written, with {rights}",
            "other processes can be seen, and those of the same user ended",
            "a program that ends its checker may leave processes behind",
            *_NEVER,
        )
    means = "bubblewrap" if wall == "bubblewrap" else "own mount namespace"
    active = (
        f"file system hidden, read-only interpreter, /tmp of {limits.folder_mib} MiB: {means}",
        "no network: own namespace",
        "no other process in sight, none left behind: own PID namespace",
        "no privileges: " + _who(),
        *always,
    )
    return active, _NEVER


def _who() -> str:
    return "a user who owns nothing" if isolation.spare_user() else "own user namespace"


def _keeps_rights() -> bool:
    return isolation.spare_user() is None or not readable_by_others()


def failure(run: Run, wall: Wall) -> str:
    """Why this wall does not hold here, in one line; empty where it does.

    A program behind it tries to see and do what it must not.
    """
    here = [os.readlink(f"/proc/self/ns/{name}") for name in ("net", "pid", "mnt", "ipc")]
    with tempfile.NamedTemporaryFile(prefix="weightlens-canary-") as canary:
        tests = ["assert sees('/proc/self')"]
        if wall != "none":
            tests += [f"assert namespace({n.partition(':')[0]!r}) != {n!r}" for n in here]
            tests += [f"assert not sees({canary.name!r})", "assert not privileged()"]
            tests += [f"assert not writes({path!r})" for path in ("/probe", "/usr/probe")]
            tests += ["assert not writes('/proc/sys/kernel/core_pattern')"]
        tests.append("assert writes('probe')")
        names = ("namespace", "sees", "writes", "privileged")
        try:
            finished = run(_PROBE, Checks("\n".join(tests), names))
        except EvaluationError as error:
            return str(error)
    return "" if finished.outcome == "passed" else f"{finished.outcome}, {finished.detail}"
