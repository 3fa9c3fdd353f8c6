"""What a card must not say: where things lie on the machine it was written on, and tokens."""

import getpass
import os
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from weightlens.errors import InputError
from weightlens.report.card_subject import CardSubject

_TOKEN = re.compile(r"\bhf_[A-Za-z0-9]{16,}")
_ADDRESS = re.compile(r"((?<![\w+.-])(?!file:)[A-Za-z][A-Za-z0-9+.-]+://\S*)")
"""Of the web, and of stores: where it leads is no secret of this machine."""

_BEFORE = r"""(?<![^\s"'`(\[{=:,;|>*“‘«+#!@&→–—])"""
_SEP = r"[/\\]+"
_WORD = r"""[^\s/\\"'`<>|*?:,;()\[\]{}]+"""
_PROSE = "and|are|as|at|by|for|from|has|have|holds|in|into|is|of|on|or|than|to|was|were|with"
_FOLDER = rf"{_WORD}(?:(?:[(),]| \(?)(?!(?:{_PROSE})\b){_WORD}){{0,4}}\)?(?={_SEP})"
"""May have blanks and brackets, since another part follows: of a text "/a/b c/d" is one path. That
can take a Hub id that comes after a path, which is better than to tell the path; not after a word
of prose."""


def without_paths(text: str, subject: CardSubject) -> str:
    """The text with every model that went in by its name in the card, and any other path of the
    machine by its end, the user's home as ~.

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
        if os.path.isabs(label):  # what lies in its folder
            text = re.sub(rf"(?<![\w/.-]){re.escape(label)}(?=/)", "~", text)
    home = os.path.expanduser("~")
    names = _own_names(home)
    path, parts = _paths(home, names), _ADDRESS.split(text)
    return "".join(
        part if i % 2 else path.sub(lambda found: _end(found, names), part)  # or an address
        for i, part in enumerate(parts)
    )


def _places(subject: CardSubject) -> Iterator[tuple[str, str]]:
    for one in subject.ingredients:
        if one.repo is None:
            if "/" in one.label:  # a bare name is no path, and may be a word of the text
                yield one.label, one.name
            yield str(Path(one.label).resolve()), one.name
    for label in (str(subject.folder), str(subject.folder.resolve())):
        if "/" in label:
            yield label, subject.title


def _own_names(home: str) -> tuple[str, ...]:
    """What the user is called here, the longest first."""
    try:
        user = getpass.getuser()
    except (ImportError, KeyError, OSError):  # nobody with a name
        user = ""
    return tuple(sorted({os.path.basename(home), user} - {"", "~"}, key=len, reverse=True))


@cache
def _paths(home: str, names: tuple[str, ...]) -> re.Pattern[str]:
    """Absolute paths, those below ~, and addresses of files."""
    who = "".join(f"{re.escape(name)}(?![\\w-]|\\.\\w)|" for name in names)
    folder, last = f"(?:{who}{_FOLDER})", f"(?:{who}{_WORD})"
    below = f"(?:{_SEP}{folder})*{_SEP}{last}"
    own = rf"{re.escape(home)}(?![\w-])|" if os.path.basename(home) else ""
    homes = rf"{own}(?:[A-Za-z]:)?{_SEP}(?:home|Users){_SEP}(?:{folder}|{last})"
    ways = (
        f"(?P<home>{homes})(?P<below>{below})?",
        rf"(?:~[\w.-]*|[A-Za-z]:){below}",
        f"/+{folder}{below}",
        f"/(?:{who}[A-Za-z_]{_WORD})",
        rf"\\\\[A-Za-z][\w.-]+(?:\\{_WORD})+",  # of a server
    )
    return re.compile(f"{_BEFORE}(?:file:(?://[\\w.-]*)?/?)?(?:{'|'.join(ways)})")


def _end(path: re.Match[str], names: tuple[str, ...]) -> str:
    end = re.split(_SEP, path[0])[-1]
    whose = path["home"] and not path["below"]
    return "~" if whose or end in names else end
