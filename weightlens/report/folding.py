"""Long names in several lines: of models, modules and files."""

import re
from collections.abc import Iterable, Iterator, Sequence

from rich.cells import cell_len, chop_cells

_SEPARATORS = (" ", "/", "._-")
"""The best places to break a name first; each for a class of a regular expression."""


def folded(name: str, width: int) -> str:
    """A name in lines of at most so many cells, broken behind its separators where it has them.

    Nothing of it is left out: cut short, two names can look the same.
    """
    return "\n".join(line for part in name.split("\n") for line in _lines(part, width))


def packed(items: Iterable[str], width: int) -> list[str]:
    """Items in lines of at most this width, with commas between them; none is broken."""
    lines = [""]
    for item in items:
        longer = f"{lines[-1]}, {item}" if lines[-1] else item
        if lines[-1] and cell_len(longer) > width:
            lines[-1] += ","
            lines.append(item)
        else:
            lines[-1] = longer
    return lines


def longest_line(text: str) -> int:
    """Cells of a terminal that it is wide."""
    return max(map(cell_len, text.split("\n")))


def shared_prefix(names: list[str]) -> str:
    """The parts, up to and with a dot, that all of several names begin with; of each something is
    left."""
    if len(names) < 2:
        return ""
    shared = []
    for parts in zip(*(name.split(".")[:-1] for name in names), strict=False):
        if len(set(parts)) > 1:
            break
        shared.append(f"{parts[0]}.")
    return "".join(shared)


def _lines(name: str, width: int, separators: Sequence[str] = _SEPARATORS) -> Iterator[str]:
    if cell_len(name) <= width:
        yield name
        return
    if not separators:
        yield from chop_cells(name, width)
        return
    line = ""
    for piece in re.split(f"(?<=[{separators[0]}])", name):
        if line and cell_len(line) + cell_len(piece.rstrip()) > width:
            yield line.rstrip()
            line = ""
        line += piece
        if cell_len(line.rstrip()) > width:
            *whole, line = _lines(line.rstrip(), width, separators[1:])
            yield from whole
            line += " " * piece.endswith(" ")
    yield line.rstrip()
