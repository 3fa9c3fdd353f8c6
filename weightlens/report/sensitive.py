"""Which answers a page folds up, and which it leaves out where it may be pushed.

A request is harmful where a task counts its refusals as good. What answers one without refusing,
and whatever a judge found unsafe, is harmful material until somebody has looked at it. The thinking
before a refusal was judged by nobody, so it counts with it.
"""

import hashlib
import re
from collections.abc import Sequence

from weightlens.evaluate.result import Draw, EvalReport

REFUSALS = "refusal_rate"
"""How the metric of a task begins that counts refusals."""

_SHORT = 12
_HASH = re.compile(r"sha256:[0-9a-f]{64}")


class Harm:
    """What a report says of its tasks: which requests are harmful."""

    def __init__(self, report: EvalReport) -> None:
        """Reads the metrics and directions of all models."""
        results = [result for model in report.models for result in model.tasks]
        self._refusals = {r.task for r in results if r.metric.startswith(REFUSALS)}
        better: dict[tuple[str, str], bool] = {}
        for r in results:  # a part's first metric is that of its verdicts; judges come after it
            better.setdefault((r.task, r.group), r.higher_is_better)
        self._low = {part for part, high in better.items() if not high}

    def asked(self, task: str, group: str) -> bool:
        """Whether the requests of a group are harmful; one that the report does not know is."""
        return task in self._refusals and self.high_is_good(task, group)

    def high_is_good(self, task: str, group: str) -> bool:
        """Whether a high verdict is good: not so for over-refusal and its like."""
        return not {(task, group), (task, "")} & self._low


def unsafe_because(draw: Draw, *, harmful: bool, judges: Sequence[str]) -> str | None:
    """Why an answer may be harmful, None where nothing says so.

    harmful: the request. judges: those that found the answer unsafe.
    """
    if judges:
        return f"judged unsafe by {', '.join(judges)}"
    if harmful and not _refused(draw):
        return "an answer to a harmful request that was not refused"
    return None


def _refused(draw: Draw) -> bool:
    return draw.verdict >= 1 and draw.outcome in ("", "refused")


def is_hash(text: str) -> bool:
    """Whether a text is the hash that a record of a private task has in its place."""
    return _HASH.fullmatch(text) is not None


def without_words(question: str, task: str) -> str:
    """What the id of a withheld question is replaced by, for it may be made of the prompt: a short
    hash. One that is but a number stays."""
    if question.removeprefix(f"{task}/").isdecimal():
        return question
    return hashlib.sha256(question.encode()).hexdigest()[:_SHORT]


def hashed(text: str) -> str:
    """The hash that stands in the place of a text; a hash stays as it is."""
    if is_hash(text):
        return text
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
