"""Answers that are no answers: empty, caught in a loop, or in another script than the question.

A rule of thumb that would rather miss one than call a good answer bad. It does not see a loop whose
turns differ in words or in several numbers, nor a wrong language in the right script (French for
English), and it does not know when the repetition, or the language, is what was asked for in other
words.
"""

import re
from bisect import bisect_right
from collections import Counter
from functools import lru_cache
from itertools import pairwise
from typing import Literal

Degeneration = Literal["", "empty", "looping", "language"]

WINDOW = 8_000
"""Characters at the end of a text in which a loop is looked for: four turns of 2,000."""

CUT_WHITESPACE = 100
"""White space at the end of an answer that was cut off, from which on it is a loop."""


def degeneration(answer: str, raw: str, prompt: str, *, truncated: bool) -> Degeneration:
    """What is wrong with an answer as such; "" for nothing.

    answer: thinking and special tokens stripped. raw: everything that was generated. truncated:
    cut off by the limit on new tokens, where fewer turns make a loop than in an answer that ended
    by itself. A thought that never ended is judged by how it ended: looping, else empty.
    """
    silent = not _visible(answer)
    if loops(raw if truncated or silent else answer, truncated=truncated):
        return "looping"
    if silent:
        return "empty"
    return "language" if in_another_script(answer, prompt) else ""


def loops(text: str, *, truncated: bool) -> bool:
    """Whether a text ends in a part repeated over and over, white space aside.

    That part may be up to 2,000 characters long and may hold one number that changes at every
    turn, or several that count on. A text that was cut off loops as well where its last 20 lines
    are three at most, in whatever order. Where it was not, one more line or sentence may follow
    the loop.
    """
    if truncated and len(text) - len(text.rstrip()) >= CUT_WHITESPACE:
        return True
    if truncated and _few_lines(text):
        return True
    tail = text[-WINDOW:].strip()
    if truncated:
        tail = tail.rstrip("0123456789")  # of the last number perhaps only the beginning is there
    endings = [tail] if truncated else [tail, _without_last_sentence(tail)]
    return any(_repeats(" ".join(end.split()), truncated=truncated) for end in endings)


def in_another_script(answer: str, prompt: str) -> bool:
    """Whether much of an answer is written in a script that its prompt does not use.

    Code and mathematics aside. Prompts without letters, or that speak of a language or of
    translating, allow any script; an answer to another script than Latin counts where it has no
    sign of that script and is not short.
    """
    if _ANY_SCRIPT.search(prompt):
        return False
    expected = {script for script, weight in script_weights(prompt).items() if weight >= 3}
    if not expected or (answer.isascii() and "Latin" in expected):
        return False
    weights = script_weights(_CODE_AND_MATHS.sub(" ", answer))
    native = sum(weights[script] for script in expected)
    foreign = weights.total() - native
    if "Latin" not in expected:
        return native == 0 and foreign >= 40
    # a name in its own script, in brackets, is no change of language
    return foreign >= 6 and (native == 0 or foreign >= max(30, 0.3 * weights.total()))


def script_weights(text: str) -> Counter[str]:
    """How much of a text is written in which script, in letters of an alphabet.

    A sign of Chinese, Japanese or Korean counts for three. Greek counts from three letters in a
    row, fewer being mathematics. What belongs to no script listed below counts for nothing.
    """
    if text.isascii():
        return +Counter({"Latin": sum(map(len, _LATIN_WORDS.findall(text)))})
    weights: Counter[str] = Counter()
    for character, count in Counter(text).items():
        script = _script(character)
        weights[script] += count * _WEIGHTS.get(script, 1)
    if weights["Greek"]:
        weights["Greek"] = sum(map(len, _GREEK_WORDS.findall(text)))
    del weights[""]
    return +weights


def _visible(text: str) -> bool:
    return any(c.isprintable() and not c.isspace() for c in text)


def _without_last_sentence(text: str) -> str:
    last = max((end.end() for end in _SENTENCE_ENDS.finditer(text)), default=len(text))
    return text[:last]


def _few_lines(text: str) -> bool:
    *whole, _ = text[-WINDOW:].splitlines() or [""]
    last = [line.strip() for line in whole if any(map(str.isalpha, line))][-_LINES:]
    return len(last) == _LINES and len(set(last)) <= 3


def _repeats(text: str, *, truncated: bool) -> bool:
    for period, length in _periods(text):
        if _is_loop(text[-period:], length, truncated=truncated):
            return True
    numbers = _NUMBERS.findall(text)
    if not numbers:
        return False
    masked = _NUMBERS.sub("0", text)
    periods = _periods(masked)
    for period, length in periods:
        columns = _changing(masked[-period:], length, numbers, truncated=truncated)
        # several turns taken for one may count on though each of them says something new
        if _never_the_same(columns) or (period == periods[0][0] and _count_on(columns)):
            return True
    return False


def _is_loop(turn: str, length: int, *, truncated: bool) -> bool:
    """turn: what repeats; length: how many characters of it there are at the end of the text."""
    turns, worded = length / len(turn), any(c.isalpha() for c in turn)
    if not worded:
        # rules, dots and rows of equal numbers are long in good answers too
        return turns >= 4 and length >= (100 if truncated else 1_000)
    if truncated:
        return (turns >= 4 and length >= 24) or (turns >= 3 and length >= 600)
    return (turns >= 8 and length >= 160) or (turns >= 4 and len(turn) >= 40)


def _changing(masked: str, length: int, numbers: list[str], *, truncated: bool) -> list[list[str]]:
    """The numbers that are not the same at all turns, place by place; none for too few turns.

    masked: a turn with every number as 0. numbers: all those of the text, in order.
    """
    turns, held = length // len(masked), masked.count("0")
    least, characters = (8, 200) if truncated else (20, 600)
    if turns < least or length < characters or not any(c.isalpha() for c in masked) or not held:
        return []
    last = numbers[-turns * held :]
    columns = [last[place::held] for place in range(held)]
    return [column for column in columns if len(set(column)) > 1]


def _never_the_same(columns: list[list[str]]) -> bool:
    """Whether one number changes, and does so at every turn."""
    return len(columns) == 1 and all(one != other for one, other in pairwise(columns[0]))


def _count_on(columns: list[list[str]]) -> bool:
    """Whether the numbers that change count on from one to the next, as those of a list do."""
    in_order = [int(number) for turn in zip(*columns, strict=True) for number in turn]
    return bool(columns) and all(other == one + 1 for one, other in pairwise(in_order))


def _periods(text: str) -> list[tuple[int, int]]:
    """Every p such that the text ends in three or more turns of its last p characters, with the
    length of what so repeats, a part of a turn at its beginning included.

    By the Z-algorithm (Gusfield 1997, Algorithms on Strings, section 1.4) from the end of the
    text, in time linear in its length.
    """
    back = text[::-1]
    n, found, left, right = len(back), [], 0, 0
    z = [0] * n
    for i in range(1, n):
        same = min(right - i, z[i - left]) if i < right else 0
        while i + same < n and back[same] == back[i + same]:
            same += 1
        if i + same > right:
            left, right = i, i + same
        z[i] = same
        if same >= 2 * i:
            found.append((i, i + same))
    return found


@lru_cache(maxsize=1 << 16)
def _script(character: str) -> str:
    code = ord(character)
    start, end, script = _RANGES[bisect_right(_STARTS, code) - 1]
    return script if start <= code <= end and (script != "Latin" or character.isalpha()) else ""


_LINES = 20
_NUMBERS = re.compile(r"\d+")
_LATIN_WORDS = re.compile(r"[A-Za-z]+")
_GREEK_WORDS = re.compile(r"[\u0370-\u03ff\u1f00-\u1fff]{3,}")
_SENTENCE_ENDS = re.compile(r"[.!?。！？](?=\s)|(?=\n)|[。！？](?=.)")
# an opening without its end takes the rest, so that no text is read twice
_CODE_AND_MATHS = re.compile(
    r"```.*?(?:```|\Z)|`[^`\n]*`|\$\$.*?(?:\$\$|\Z)|\$[^$\n]*\$|\\\(.*?(?:\\\)|\Z)"
    r"|\\\[.*?(?:\\\]|\Z)",
    re.DOTALL,
)
_ANY_SCRIPT = re.compile(
    r"translat|language|alphabet|script\b|unicode|kanji|hiragana|katakana|hangul|cyrillic|english"
    r"|chinese|mandarin|cantonese|japanese|korean|russian|ukrainian|bulgarian|serbian|greek"
    r"|hebrew|arabic|persian|farsi|urdu|hindi|sanskrit|bengali|punjabi|gujarati|tamil|telugu"
    r"|kannada|malayalam|sinhala|thai\b|\blao\b|burmese|khmer|georgian|armenian|amharic|mongolian"
    r"|tibetan|英语|英文|翻译|譯|英語|翻訳|영어|번역|английск|перевод|перевед|ترجم|अनुवाद",
    re.IGNORECASE,
)
_WEIGHTS = {"Han": 3, "Kana": 3, "Hangul": 3}
_RANGES = sorted(
    [
        (0x0041, 0x024F, "Latin"),
        (0x1E00, 0x1EFF, "Latin"),
        (0xFF21, 0xFF5A, "Latin"),
        (0x0370, 0x03FF, "Greek"),
        (0x1F00, 0x1FFF, "Greek"),
        (0x0400, 0x052F, "Cyrillic"),
        (0x0530, 0x058F, "Armenian"),
        (0x0590, 0x05FF, "Hebrew"),
        (0x0600, 0x06FF, "Arabic"),
        (0x0750, 0x077F, "Arabic"),
        (0xFB50, 0xFDFF, "Arabic"),
        (0xFE70, 0xFEFE, "Arabic"),
        (0x0900, 0x097F, "Devanagari"),
        (0x0980, 0x09FF, "Bengali"),
        (0x0A00, 0x0A7F, "Gurmukhi"),
        (0x0A80, 0x0AFF, "Gujarati"),
        (0x0B00, 0x0B7F, "Oriya"),
        (0x0B80, 0x0BFF, "Tamil"),
        (0x0C00, 0x0C7F, "Telugu"),
        (0x0C80, 0x0CFF, "Kannada"),
        (0x0D00, 0x0D7F, "Malayalam"),
        (0x0D80, 0x0DFF, "Sinhala"),
        (0x0E00, 0x0E7F, "Thai"),
        (0x0E80, 0x0EFF, "Lao"),
        (0x0F00, 0x0FFF, "Tibetan"),
        (0x1000, 0x109F, "Myanmar"),
        (0x10A0, 0x10FF, "Georgian"),
        (0x1200, 0x139F, "Ethiopic"),
        (0x1780, 0x17FF, "Khmer"),
        (0x1800, 0x18AF, "Mongolian"),
        (0x1100, 0x11FF, "Hangul"),
        (0x3130, 0x318F, "Hangul"),
        (0xAC00, 0xD7AF, "Hangul"),
        (0x3041, 0x30FF, "Kana"),
        (0x3400, 0x4DBF, "Han"),
        (0x4E00, 0x9FFF, "Han"),
        (0xF900, 0xFAFF, "Han"),
        (0x20000, 0x3FFFF, "Han"),
    ]
)
_STARTS = [start for start, _, _ in _RANGES]
