"""Sandboxes for tests: behind each wall that holds on this machine, with small limits."""

import functools

import pytest

from weightlens.evaluate.code import protections
from weightlens.evaluate.code.launch import Wall
from weightlens.evaluate.code.limits import Checks, Finished, Limits
from weightlens.evaluate.code.sandbox import Sandbox

SMALL = Limits(cpu_seconds=5, wall_seconds=10.0, memory_mib=256, file_mib=2, folder_mib=8)

CLOSED: tuple[Wall, ...] = ("bubblewrap", "namespaces")
"""Walls that hide the machine."""


def behind(wall: Wall, limits: Limits = SMALL) -> Sandbox:
    """A sandbox behind this wall; the test is skipped where the wall does not hold."""
    why_not = _why_not(wall)
    if why_not:
        pytest.skip(f"no {wall} on this machine: {why_not}")
    return Sandbox(wall, limits, *protections.described(wall, limits))


@functools.cache
def _why_not(wall: Wall) -> str:
    limits = Limits()
    return protections.failure(Sandbox(wall, limits, (), ()).run, wall)


def asked(sandbox: Sandbox, program: str, tests: str = "assert f() == 42") -> Finished:
    """The program judged by tests that call its `f`."""
    return sandbox.run(program, Checks(tests, ("f",)))
