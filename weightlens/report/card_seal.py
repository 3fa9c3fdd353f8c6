"""Whether a card is as it was written: its last line is a comment with the hash of the rest."""

import hashlib
import re
from pathlib import Path
from typing import Literal

State = Literal["absent", "untouched", "edited", "foreign"]

_SEAL = re.compile(r"\n<!-- written by weightlens card; sha256 of all above: ([0-9a-f]{64}) -->")


def sealed(text: str) -> str:
    """The text with the comment, which no reader of the page sees."""
    body = text.rstrip("\n") + "\n"
    return f"{body}\n<!-- written by weightlens card; sha256 of all above: {_hash(body)} -->\n"


def state_of(card: Path) -> State:
    """What lies there: nothing, a card of ours as it was written, one that was edited since, or a
    text of other making. Line endings do not count."""
    if not card.exists():
        return "absent"
    try:
        text = card.read_bytes().decode("utf-8").replace("\r\n", "\n")
    except (OSError, UnicodeDecodeError):
        return "foreign"
    seal = _SEAL.search(text)
    if seal is None:
        return "foreign"
    whole = not text[seal.end() :].strip() and _hash(text[: seal.start()]) == seal[1]
    return "untouched" if whole else "edited"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
