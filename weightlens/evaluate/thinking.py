"""What of an answer was thought, and what was said."""

from collections.abc import Iterable

THOUGHTS = (("<think>", "</think>"), ("[THINK]", "[/THINK]"))
"""How a thought begins and ends, in the models that think aloud."""


def spoken(raw: str, prompt: str = "", special: Iterable[str] = ()) -> str:
    """An answer without its thoughts and special tokens; a thought that never ends leaves nothing.

    prompt: what the model went on from: some templates begin the thought there.
    """
    text = raw
    for begins, ends in THOUGHTS:
        _, closed, after = text.rpartition(ends)
        thinking = begins in text or prompt.rstrip().endswith(begins)
        if thinking and not closed:
            return ""
        text = after
    for token in special:
        text = text.replace(token, "")
    return text.strip()
