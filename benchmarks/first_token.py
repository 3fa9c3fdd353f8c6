"""Seconds from the start of `weightlens eval` to its first token, and what of it is imports.

    python benchmarks/first_token.py [MODEL] [--repeats 5]

One question is asked for one token. MODEL: one of those that come with weightlens unless named. The
first token: from the start of the process, as the system counts it, until the backend has made
the token. Beside it the whole process with its table and its end, and the time that importing torch
and transformers takes, which no program that runs a model saves.
"""

import argparse
import os
import statistics
import subprocess
import sys
from pathlib import Path

from launching import launched
from timing import table

from weightlens.experiment.tiny.shipped import SHIPPED

IMPORTS = "import torch; from transformers import AutoModelForCausalLM, AutoTokenizer"
UNTIL_TOKEN = """
import os, sys
from pathlib import Path
from weightlens.evaluate.backends.static import StaticBatching
from weightlens_cli.main import app
generate = StaticBatching.generate
def timed(*arguments, **named):
    found = generate(*arguments, **named)
    began = int(Path("/proc/self/stat").read_text().split()[21]) / os.sysconf("SC_CLK_TCK")
    now = float(Path("/proc/uptime").read_text().split()[0])
    print("first token", now - began, file=sys.stderr)
    return found
StaticBatching.generate = timed
app()
"""
"""Prints the seconds since the process began, as Linux has them, once the token is there."""


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, nargs="?", default=SHIPPED / "base")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    program = str(Path(sys.executable).with_name("weightlens"))
    asks = ["eval", str(options.model), "--task", "reasoning", "--limit", "1"]
    rows = {
        "importing torch and transformers": [sys.executable, "-c", IMPORTS],
        "weightlens eval, one token": [program, *asks, "--max-new-tokens", "1"],
    }
    table("", "s", "MB")
    for name, command in rows.items():
        runs = [launched(command, Path.cwd(), os.environ) for _ in range(options.repeats + 1)][1:]
        seconds, peak = (
            statistics.median(getattr(r, of) for r in runs) for of in ("seconds", "peak")
        )
        print(f"| {name} | {seconds:.2f} | {peak:.0f} |")
    until = statistics.median(until_token(asks) for _ in range(options.repeats))
    print(f"| of it until the first token | {until:.2f} | |")


def until_token(asks: list[str]) -> float:
    """Seconds from the start of a process of its own to its first token."""
    command = [sys.executable, "-c", UNTIL_TOKEN, *asks, "--max-new-tokens", "1"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    (line,) = (line for line in said.splitlines() if line.startswith("first token"))
    return float(line.split()[-1])


if __name__ == "__main__":
    main()
