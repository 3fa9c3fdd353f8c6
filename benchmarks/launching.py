"""Commands run by themselves: seconds of wall time, and peak memory of the whole process."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_LAUNCHER = """
import json, os, subprocess, sys, time
began = time.perf_counter()
child = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, usage = os.wait4(child.pid, 0)
print(json.dumps([status, time.perf_counter() - began, usage.ru_maxrss / 1e3]))
"""
"""A process counts the memory of the one that it was forked from: this one is small."""


@dataclass(frozen=True)
class Taken:
    """seconds: wall time; peak: MB of memory at most."""

    seconds: float
    peak: float


def launched(command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> Taken:
    """Runs a command in a folder. Raises SystemExit where it fails."""
    output = subprocess.check_output(
        [sys.executable, "-c", _LAUNCHER, *command], cwd=folder, env=environment
    )
    status, seconds, peak = json.loads(output.splitlines()[-1])
    if status:
        raise SystemExit(f"{' '.join(command)}: failed with status {status}")
    return Taken(seconds, peak)
