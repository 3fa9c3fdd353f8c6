"""The option that a reply chooses.

"A" is also an article, and a 3 may count apples: such a label counts only where nothing that it
could belong to follows.
"""

import re
from collections import deque
from collections.abc import Mapping

from weightlens.evaluate.extraction.marked import after_markers, boxed
from weightlens.evaluate.extraction.plain import plain

_MOST, _LONGEST = 20, 400
"""Places that are looked at, from the last one, and characters of each."""

_OPENING = r"[\s\"'“‘(\[{<:*]{0,6}"
_CLOSING = ")]}<>.,:;!?\"'”’—–"
_NAMED = r"(?:(?:option|choice|letter|number|answer)\s{1,3})?"
_GOES_ON = re.compile(
    r"\s{1,3}(?:because|since|as|which|due|given|based|by|from|with|for|if|that|here)\b"
)
_CHOOSING = re.compile(
    r"\b(?:option|choice|letter)\b\s{0,3}(?:is|would\s+be|must\s+be|has\s+to\s+be|:|=)"
    r"|\b(?:choose|chose|select|pick|go\s+with)\b",
    re.IGNORECASE,
)
_RIGHT = r"\)?\s{1,3}is\s{1,3}(?:the\s{1,3})?(?:most\s{1,3})?(?:correct|right|best|accurate)\b"


def chosen(answer: str, options: Mapping[str, str]) -> str | None:
    """The label of the option that a reply settles on: in a box, after "the answer is" or its like,
    alone on a line, or by its text. None where it names none, or several.

    options: their texts by label.
    """
    for finder in (_boxed, _marked, _called_right, _by_itself, _by_text):
        label = finder(answer, options)
        if label is not None:
            return label
    return None


def _boxed(answer: str, options: Mapping[str, str]) -> str | None:
    held = boxed(answer)
    if held is None:
        return None
    text = plain(held)
    return _label_at(text, options) or _option_of(text, options)


def _marked(answer: str, options: Mapping[str, str]) -> str | None:
    rests = [plain(rest) for rest in after_markers(answer)]
    text = plain(answer)
    choosing = deque(_CHOOSING.finditer(text), maxlen=_MOST)
    rests += [
        text[match.end() : match.end() + _LONGEST].partition("\n")[0]
        for match in reversed(choosing)
    ]
    for rest in rests:
        label = _label_at(rest, options) or _option_of(rest, options)
        if label is not None:
            return label
    return None


def _called_right(answer: str, options: Mapping[str, str]) -> str | None:
    found = re.findall(rf"(?<![\w'])({_any(options)}){_RIGHT}", plain(answer))
    return found[-1] if found else None


def _by_itself(answer: str, options: Mapping[str, str]) -> str | None:
    """A label alone on the last or the first line, or the only one that begins lines, or the only
    one in brackets on the last line."""
    lines = [line.strip() for line in plain(answer).splitlines() if line.strip()]
    if not lines:
        return None
    alone = re.compile(rf"[^\w\n]{{0,6}}{_NAMED}({_any(options)})[^\w\n]{{0,6}}", re.IGNORECASE)
    for line in (lines[-1], lines[0]):
        match = alone.fullmatch(line)
        if match:
            return _spelt(match[1], options)
    beginning = re.compile(rf"[-*>\s]{{0,4}}\(?({_any(options)})[).:](?!\d)")
    starts = {match[1] for line in lines if (match := beginning.match(line))}
    if len(starts) == 1:
        return starts.pop()
    ending = set(re.findall(rf"[(\[]({_any(options)})[)\]]", lines[-1]))
    return ending.pop() if len(ending) == 1 and not starts else None


def _by_text(answer: str, options: Mapping[str, str]) -> str | None:
    lines = [line for line in plain(answer).splitlines() if line.strip()]
    return _option_of(lines[-1], options) or _option_of(lines[0], options) if lines else None


def _option_of(text: str, options: Mapping[str, str]) -> str | None:
    """The label of the one option whose text this is, letter case and full stops apart."""
    said = _normal(text)
    same = [label for label, option in options.items() if said and _normal(option) == said]
    return same[0] if len(same) == 1 else None


def _normal(text: str) -> str:
    return " ".join(plain(text).casefold().split()).strip(" .,;:!\"'()")


def _label_at(text: str, options: Mapping[str, str]) -> str | None:
    """The label that a text begins with."""
    begin = re.compile(rf"({_OPENING}{_NAMED}{_OPENING})({_any(options)})", re.IGNORECASE)
    match = begin.match(text)
    if match is None:
        return None
    label, rest = match[2], text[match.end() :]
    if _another(rest, options) or not _ends(label, rest, small=label not in options):
        return None
    return _spelt(label, options)


def _ends(label: str, rest: str, *, small: bool) -> bool:
    """Whether what follows a label shows that it is one. small: it is in the wrong letter case."""
    if not rest.strip():
        return True
    if rest[0] in _CLOSING:
        return not (rest[0] in ".," and rest[1:2].isdigit())
    if small or not rest[0].isspace():
        return False
    if label in ("A", "I") or label.isdigit():
        return _GOES_ON.match(rest) is not None or not rest.split()[0][0].isalnum()
    return True


def _another(rest: str, options: Mapping[str, str]) -> bool:
    """Whether a second label follows, as in "A or B"."""
    pattern = rf"[)\]\s]{{0,3}}(?:or|and|/|&|,)\s{{0,3}}[(\[]?(?:{_any(options)})(?![\w'])"
    return re.match(pattern, rest) is not None


def _spelt(label: str, options: Mapping[str, str]) -> str | None:
    return next((known for known in options if known.casefold() == label.casefold()), None)


def _any(options: Mapping[str, str]) -> str:
    return "|".join(re.escape(label) for label in sorted(options, key=len, reverse=True))
