"""Seconds from the start of `weightlens eval` to the end of its first token, and what it imports.

    python benchmarks/first_token.py [MODEL] [--repeats 5]

The whole process is measured: it asks one question for one token and prints its table, so the first
token is there earlier. MODEL: one of the models that come with weightlens unless named. Beside it
the time that importing torch and transformers takes, which no program that runs a model saves.
"""

import argparse
import os
import statistics
import sys
from pathlib import Path

from launching import launched
from timing import table

from weightlens.experiment.tiny.shipped import SHIPPED

IMPORTS = "import torch; from transformers import AutoModelForCausalLM, AutoTokenizer"


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


if __name__ == "__main__":
    main()
