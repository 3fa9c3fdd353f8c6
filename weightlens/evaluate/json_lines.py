"""JSON lines: which line is which, and what ends one."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import AnyStr

from weightlens.errors import EvaluationError


def numbered(lines: Iterable[AnyStr]) -> Iterator[tuple[int, AnyStr]]:
    """The lines that hold something, each with its number in the file.

    lines: a file that is open in binary or with newline="\\n", or an `io.StringIO`: never what
    str.splitlines makes, since a string in JSON may hold U+2028, U+0085 and their like as they are.
    """
    return ((number, line) for number, line in enumerate(lines, start=1) if line.strip())


def read_numbered(file: Path, what: str) -> Iterator[tuple[int, str]]:
    """`numbered` of a text in UTF-8, read as it is gone through.

    what: the file holds, for errors. Raises EvaluationError where it cannot be read.
    """
    try:
        with file.open(encoding="utf-8-sig", newline="\n") as lines:
            yield from numbered(lines)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise EvaluationError(f"{file}: {what} cannot be read ({reason})") from error
