"""How a card calls things, and what it must not say: no paths of the machine it was written on."""

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from weightlens.errors import InputError
from weightlens.report.card_subject import Subject

_PATH = re.compile(r"(?<![\w/.:~\]])(?:~|[A-Za-z]:)?(?:[/\\][\w.@+-]+){2,}")
_TOKEN = re.compile(r"\bhf_[A-Za-z0-9]{16,}")


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


def without_paths(text: str, subject: Subject) -> str:
    """The text with every model that went in by its name in the card, and any other path of the
    machine by its end.

    Raises InputError where a token of the Hub stands in it.
    """
    if token := _TOKEN.search(text):
        raise InputError(
            f"{subject.folder}: its record holds what looks like a token of the Hub "
            f"({token[0][:5]}…); take it out there, and revoke it"
        )
    for label, name in sorted(_places(subject), key=lambda pair: -len(pair[0])):
        whole = rf"(?<![\w/.-]){re.escape(label)}(?![\w/-])"
        text = re.sub(whole, name.replace("\\", r"\\"), text)
    return _PATH.sub(lambda found: re.split(r"[/\\]", found[0])[-1], text)


def _places(subject: Subject) -> Iterator[tuple[str, str]]:
    for one in subject.ingredients:
        if one.repo is None:
            if "/" in one.label:  # a bare name is no path, and may be a word of the text
                yield one.label, one.name
            yield str(Path(one.label).resolve()), one.name
    for label in (str(subject.folder), str(subject.folder.resolve())):
        if "/" in label:
            yield label, subject.title
