"""Commands run by themselves: seconds of wall time, and peak memory of all their processes."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_LAUNCHER = """
import json, os, subprocess, sys, threading, time

def tree(process):
    yield process
    try:
        listed = open(f"/proc/{process}/task/{process}/children").read().split()
    except OSError:
        listed = []
    for child in listed:
        yield from tree(child)

def share(process):
    try:
        lines = open(f"/proc/{process}/smaps_rollup").read().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))

def watch():
    global peak
    while not ended.wait(0.2):
        processes = list(tree(child.pid))
        if len(processes) > 1:
            peak = max(peak, sum(map(share, processes)))

peak, ended = 0, threading.Event()
began = time.perf_counter()
child = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
watcher = threading.Thread(target=watch)
watcher.start()
_, status, usage = os.wait4(child.pid, 0)
seconds = time.perf_counter() - began
ended.set()
watcher.join()
print(json.dumps([status, seconds, max(peak, usage.ru_maxrss) / 1e3]))
"""
"""A process counts the memory of the one that it was forked from: this one is small. Where it forks
others, the memory of all is added up every 0.2 s, what they share counted once."""


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
