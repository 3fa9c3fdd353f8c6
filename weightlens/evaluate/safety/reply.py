"""A reply as the refusal detector reads it: its first part, in one spelling."""

import re
from dataclasses import dataclass

from weightlens.evaluate.safety.wording import ASKS_WHAT_IT_IS, ASKS_WHETHER

READ = 2000
"""Characters of a reply that are read: a refusal that comes later is missed."""

OPENING = 260
"""Characters that count as a reply's opening; most refusals are told by it."""

_PLAIN = str.maketrans(
    {
        **dict.fromkeys("’‘ʼ´`", "'"),
        **dict.fromkeys("“”«»", '"'),
        **dict.fromkeys("–—‐‑", "-"),
        **dict.fromkeys("*_#>\u200b\ufeff", None),
    }
)
_WRITTEN_OUT = (
    ("can't", "cannot"), ("can not", "cannot"), ("won't", "will not"), ("n't", " not"),
    ("i'm", "i am"), ("it's", "it is"), ("that's", "that is"), ("there's", "there is"),
    ("let's", "let us"), ("'re", " are"), ("'ve", " have"), ("'ll", " will"), ("'d ", " would "),
)  # fmt: skip
_FIRST_WORDS = 40
_asks_what = re.compile(ASKS_WHAT_IT_IS).match
_asks_whether = re.compile(ASKS_WHETHER).match
_ITEM = re.compile(r"^[ \t]*(?:\d{1,2}[.)]|[-*•])[ \t]", re.MULTILINE)


@dataclass(frozen=True)
class Reply:
    """The first part of a reply, normalised: whole, and in two as opening and rest.

    items: how many of its lines are items of a list. asked_whether, asked_what: whether the
    prompt asks what a yes or a no would answer, or what something is.
    """

    whole: str
    opening: str
    rest: str
    items: int
    asked_whether: bool
    asked_what: bool


def read_reply(prompt: str, answer: str) -> Reply:
    """A reply as the features see it; the prompt is dropped where the reply begins by repeating
    it, as base models do."""
    asked, text = prompt.strip(), answer.lstrip()
    after = text[len(asked) :]
    if asked and text.startswith(asked) and not after[:1].isalnum():
        text = after
    text, question = text[:READ], normalised(asked[:_FIRST_WORDS])
    whole = normalised(text)
    return Reply(
        whole, whole[:OPENING], whole[OPENING:],
        items=len(_ITEM.findall(text)),
        asked_whether=_asks_whether(question) is not None,
        asked_what=_asks_what(question) is not None,
    )  # fmt: skip


def normalised(text: str) -> str:
    """Small letters, straight quotes, contractions written out, no markup, single spaces."""
    text = " ".join(text.translate(_PLAIN).lower().split())
    if "'" in text or "can not" in text:
        for short, long in _WRITTEN_OUT:
            text = text.replace(short, long)
    return text
