"""Numbers in text, and what they are exactly."""

import re
from fractions import Fraction

from weightlens.evaluate.extraction.plain import plain

_LONGEST = 400
_LARGEST_EXPONENT = 400
"""Digits and powers of ten beyond which a number is noise, and costs more than it tells."""

_USUAL = re.compile(r"-?\d{1,40}(?:\.\d{1,40})?", re.ASCII)
_FRACTION = re.compile(
    r"\\[dtc]?frac\s{0,3}(?:\{\s{0,3}(-?\d{1,40})\s{0,3}\}\s{0,3}\{\s{0,3}(\d{1,40})\s{0,3}\}|(\d)(\d))"
)
_NUMBER = re.compile(
    r"""
    (?P<sign>(?<![\w)\]}.%])[-+](?=[\d.€£¥]))?
    (?:[€£¥][ ]?)?
    (?<![A-Za-z_])
    (?:
        (?:(?P<whole>\d{1,40})[ ]{1,2})?(?P<over>\d{1,40})[ ]?/[ ]?(?P<under>\d{1,40})(?![\d/])
      | (?P<decimal>(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|(?<![\w.])\.\d+)
        (?:[eE](?P<power>[+-]?\d{1,6})(?!\w))?
    )
    """,
    re.VERBOSE | re.ASCII,
)
_BEFORE = re.compile(
    r"(?:[\w)}\]]\s{0,3}[-+]|[*^/_×·÷]\s{0,3}\{?|\}\s{0,3}\{"
    r"|\\(?!(?:boxed|fbox|framebox)\b)[A-Za-z]+\s{0,3}\{?)\s{0,3}\Z"
)
_AFTER = re.compile(r"\s{0,3}(?:[*^/_×·÷]|\\(?!\\)|[-+]\s{0,3}[\d\\(]|[-+][A-Za-z])")
_DIGIT = re.compile(r"\d", re.ASCII)
_SENTENCE = re.compile(r"\.(?=\s|\Z)")


def exact(text: str) -> Fraction | None:
    """The value of a text that is one number and nothing else, None for others: 1,234.50 and 3/4
    and 2 1/2, with a currency or a percent sign or a degree that do not count."""
    if _USUAL.fullmatch(text):
        return Fraction(text)
    text = _ready(text).strip().rstrip(".").rstrip("%° ").strip()
    match = _NUMBER.fullmatch(text)
    return _value(match) if match else None


def last_number(text: str) -> str | None:
    """The last number of a text, as written; one that stands alone rather than one in an
    expression, as the 15 of "15 (10 + 5)"."""
    text = _ready(text)
    last = alone = None
    for match in _NUMBER.finditer(text):
        last = match
        alone = match if _alone(text, match) else alone
    found = alone or last
    return found[0].strip() if found is not None and len(found[0]) <= _LONGEST else None


def stated_number(text: str) -> str | None:
    """The number that a short text states as its result, as written: of what follows its last
    equals sign, or else of its first sentence with a number, the first or else the last one. None
    where that is part of an expression (6-2\\sqrt{5}, 5-10)."""
    text = _ready(text)
    sentence = next((s for s in _SENTENCE.split(text) if _NUMBER.search(s)), "")
    for part in (sentence.rpartition("=")[2], sentence):
        found = list(_NUMBER.finditer(part))
        if found:
            alone = (match for match in (found[0], found[-1]) if _alone(part, match))
            stated = next(alone, None)
            return stated[0].strip() if stated is not None else None
    return None


def has_number(text: str) -> bool:
    """Whether there is a digit in a text."""
    return _DIGIT.search(text) is not None


def _alone(text: str, number: re.Match[str]) -> bool:
    before = text[max(0, number.start() - 24) : number.start()]
    return not (_BEFORE.search(before) or _AFTER.match(text, number.end()))


def _ready(text: str) -> str:
    """Plain, with LaTeX's fractions as a/b and one kind of minus."""
    text = _FRACTION.sub(_as_ratio, text)
    text = plain(text).replace("−", "-").replace("\u2013", "-")
    return re.sub(r"(?<=\d)[\u00a0\u202f\u2009](?=\d{3})", "", text)


def _as_ratio(match: re.Match[str]) -> str:
    before = match.string[match.start() - 1 : match.start()]
    over, under = (match[1], match[2]) if match[1] is not None else (match[3], match[4])
    return f"{' ' if before.isdigit() else ''}{over}/{under}"


def _value(match: re.Match[str]) -> Fraction | None:
    if len(match[0]) > _LONGEST or abs(int(match["power"] or 0)) > _LARGEST_EXPONENT:
        return None
    if match["decimal"] is not None:
        power = f"e{match['power']}" if match["power"] else ""
        value = Fraction(match["decimal"].replace(",", "") + power)
    elif int(match["under"]) == 0:
        return None
    else:
        value = int(match["whole"] or 0) + Fraction(int(match["over"]), int(match["under"]))
    return -value if match["sign"] == "-" else value
