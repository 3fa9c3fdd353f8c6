"""What running a program costs beside running Python: milliseconds a program, behind every wall.

    python benchmarks/sandbox.py [--programs 60]

The program is as short as can be, and its one test passes. "plain" is `python -S -c` on the same
text, started and awaited in the same way: what nobody can go below who gives each program a process
of its own. The rest of a row is the wall, the second process, and the verdict's way back. Medians,
one program at a time, rows taken in turn.
"""

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import get_args

from timing import table

from weightlens.evaluate.code import launch, protections
from weightlens.evaluate.code.limits import Checks, Limits
from weightlens.evaluate.code.sandbox import Sandbox

PROGRAM = "def f():\n    return 42\n"
CHECKS = Checks("assert f() == 42", ("f",))


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--programs", type=int, default=60)
    rows = {"plain": _plain} | {wall: _behind(wall) for wall in get_args(launch.Wall)}
    taken: dict[str, list[float]] = {name: [] for name in rows}
    for _ in range(parser.parse_args().programs):
        for name, run in rows.items():
            began = time.perf_counter()
            run()
            taken[name].append(1000 * (time.perf_counter() - began))
    floor = statistics.median(taken["plain"])
    table("", "ms a program", "nine of ten below", "overhead, ms")
    for name, times in taken.items():
        middle, high = statistics.median(times), statistics.quantiles(times, n=10)[-1]
        print(f"| {name} | {middle:.1f} | {high:.1f} | {middle - floor:.1f} |")


def _plain() -> None:
    text = f"{PROGRAM}{CHECKS.tests}\n"
    subprocess.run([*launch.interpreter()[:-1], text], check=True)


def _behind(wall: launch.Wall) -> Callable[[], None]:
    limits = Limits()
    sandbox = Sandbox(wall, limits, *protections.described(wall, limits))
    failure = protections.failure(sandbox.run, wall)
    if failure:
        sys.exit(f"no {wall} on this machine: {failure}")

    def run() -> None:
        finished = sandbox.run(PROGRAM, CHECKS)
        assert finished.outcome == "passed", finished

    return run


if __name__ == "__main__":
    main()
