"""Compares formulas as they come on standard input: one line of JSON, [reference, answer, kind],
for one line of JSON, [outcome, the answer as it was read].

A program, not a module: it is run by its path, so that it imports nothing of weightlens.
"""

import json
import logging
import re
import resource
import sys
from typing import Any

_MEMORY = 2 * 2**30
_SECONDS = 5

_DELIMITER = re.compile(r"(?<!\\)\$|\\\(|\\\[")


def main() -> None:
    """Until standard input ends."""
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    logging.disable(logging.CRITICAL)
    replies, sys.stdout = sys.stdout, sys.stderr  # whatever else is printed is no reply
    import math_verify  # noqa: F401  (its seconds are not the first answer's)

    print("ready", file=replies, flush=True)
    for line in sys.stdin:
        print(json.dumps(judged(*json.loads(line))), file=replies, flush=True)


def judged(reference: str, answer: str, kind: str) -> tuple[str, str | None]:
    """right, wrong or not parsed, and the answer as it was read."""
    from math_verify import verify

    try:
        wanted, given = _formula(reference), _read(answer, kind)
        if not (wanted and given):
            return "not parsed", None
        right = verify(wanted, given, timeout_seconds=_SECONDS)
        return ("right" if right else "wrong"), str(given[-1])[:400]
    except (Exception, MemoryError, RecursionError):
        return "not parsed", None


def _read(answer: str, kind: str) -> list[Any]:
    # within delimiters stands the formula, around them prose, whatever it came from
    delimited = _DELIMITER.search(answer) is not None
    return _parsed(answer) if kind == "prose" or delimited else _formula(answer)


def _formula(text: str) -> list[Any]:
    bare = text.strip().strip("$").rstrip(".")
    return _parsed(f"\\boxed{{{bare}}}") or _parsed(text)


def _parsed(text: str) -> list[Any]:
    from math_verify import parse

    return list(parse(text, parsing_timeout=_SECONDS))


if __name__ == "__main__":
    main()
