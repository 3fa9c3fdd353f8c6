"""Answers that are marked as such: in a LaTeX box, or after words like "the answer is"."""

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from weightlens.evaluate.extraction.plain import unmarked

_BOX = r"\\(?:boxed|fbox|framebox)\b\s{0,3}"
_BRACES = re.compile(
    rf"(?P<box>{_BOX}\{{)|(?P<bare>{_BOX}[^\s{{}}$\\.,;]{{1,40}})|\\.|[{{}}]", re.DOTALL
)
_LONGEST = 1000
"""Characters of an answer; what is longer is none."""

_SHORT = 100
_MOST = 20
"""Markers that are looked at, from the last one: replies can repeat them for ever."""

_MARKER = re.compile(
    r"""
      \#{4}                                              # GSM8K
    | <answer>
    | ^\W{0,4}\#{1,6}[ \t]{0,3}(?:the[ ])?(?:final[ ]|correct[ ])?answer\b[ \t]{0,3}:?  # a heading
    | \banswer\b[ \t]{0,3}
      (?:\([^()\n]{0,60}\)[ \t]{0,3})?                   # (in dollars)
      (?:(?:to|for|of)\b[^\n.:=]{0,120}?[ \t])?          # to the question
      (?:(?:is|are|was|would[ ]be|should[ ]be|will[ ]be|must[ ]be|equals)\b[ \t]{0,3}[:=]?|[:=—–])
    """,
    re.IGNORECASE | re.MULTILINE | re.VERBOSE,
)
_DISPLAYS = (("\\[", "\\]"), ("$$", "$$"))


def boxed(answer: str) -> str | None:
    """What the last box that is closed holds."""
    last = None
    opened: list[int | None] = []  # where boxes begin, None for other braces
    for match in _BRACES.finditer(answer):
        if match["box"]:
            opened.append(match.end())
        elif match["bare"]:
            last = re.split(_BOX, match["bare"])[1]
        elif match[0] == "{":
            opened.append(None)
        elif match[0] == "}" and opened:
            start = opened.pop()
            last = answer[start : match.start()].strip() if start is not None else last
    return last if last is not None and len(last) <= _LONGEST else None


def after_markers(answer: str) -> Iterator[str]:
    """What follows each marker on its line (or on the next one, or as a formula on display), the
    last marker first, for markers that something follows."""
    return (found.text for found in _following(answer))


def after_marker(answer: str) -> str | None:
    """What follows the last marker, where that looks like an answer and not like the beginning of a
    derivation: where it is short, or begins with a number or a formula."""
    found = next(_following(answer), None)
    if found is None or (found.below and "=" in found.rest):
        return None
    brief = len(found.text) <= _SHORT or re.match(r"[-−]?[\d$€£¥\\]", found.text) is not None
    return found.text.rstrip(".").rstrip() or None if brief else None


@dataclass(frozen=True)
class _Following:
    """What follows a marker. below: on a later line. rest: of the reply."""

    text: str
    below: bool
    rest: str


def _following(answer: str) -> Iterator[_Following]:
    text = unmarked(answer)
    markers = deque(_MARKER.finditer(text), maxlen=_MOST)
    for marker in reversed(markers):
        start = marker.end()
        while start < len(text) and (text[start].isspace() or text[start] in ":*_>"):
            start += 1
        end = _end(text, start)
        said = text[start:end].partition("</answer>")[0].strip()
        for opening, closing in _DISPLAYS:
            if said.startswith(opening):
                said = said.removeprefix(opening).removesuffix(closing).strip()
        if said:
            yield _Following(said[:_LONGEST], "\n" in text[marker.end() : start], text[end:])


def _end(text: str, start: int) -> int:
    for opening, closing in _DISPLAYS:
        if text.startswith(opening, start):
            end = text.find(closing, start + len(opening), start + _LONGEST)
            if end >= 0:
                return end + len(closing)
    end = text.find("\n", start)
    return end if end >= 0 else len(text)
