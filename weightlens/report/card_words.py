"""How a card writes things down."""

import re
from collections.abc import Iterable, Iterator, Sequence


def code(name: str) -> str:
    """A name as it is, in a cell of a table too."""
    plain = name.replace("|", "/").replace("`", "'")
    return f"`{plain}`"


def listed(names: Sequence[str]) -> str:
    """a, b and c."""
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def fenced(text: str, language: str) -> str:
    """A block of code, whatever the text holds."""
    longest = max((len(run) for run in re.findall(r"`{3,}", text)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: int) -> Iterator[str]:
    """A table of Markdown. numbers: how many columns at the end hold such."""
    yield "| " + " | ".join(head) + " |"
    yield "|" + "---|" * (len(head) - numbers) + "--:|" * numbers
    for row in rows:
        yield "| " + " | ".join(row) + " |"
