"""What answers for a judge: a model on this machine, or one behind an endpoint."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from weightlens.errors import EvaluationError
from weightlens.evaluate.task import Sampling

Reply = TypeVar("Reply")


@dataclass(frozen=True)
class Request:
    """What is sent: messages for the judge's chat template, or (messages empty) a text.

    special_tokens: whether the tokenizer adds those that begin a text.
    """

    messages: tuple[dict[str, str], ...] = ()
    text: str = ""
    special_tokens: bool = True


Complete = Callable[[Sequence[Request], Sampling], Sequence[str]]
"""Replies to requests, in their order, thinking and special tokens as they come. A conversation
that ends with the assistant's turn (Llama Guard's does) is rendered whole, by the chat template."""

Weigh = Callable[[Sequence[Request], Sequence[str]], Sequence[Sequence[float]]]
"""For every request, how probable each label is as the very next token."""

Shorten = Callable[[str, int], str]
"""A text cut to so many tokens."""


Replies = Generator[tuple[int, str], None, None]
"""Replies as they come, each with the place of its request."""

Weights = Generator[tuple[int, Sequence[float]], None, None]
"""Probabilities of labels as they come, each with the place of its request."""


class JudgeModel(ABC):
    """Whatever answers for a judge. Each raises EvaluationError where it cannot go on."""

    @abstractmethod
    def complete(self, requests: Sequence[Request], sampling: Sampling) -> Replies:
        """Replies to requests."""

    @abstractmethod
    def weigh(self, requests: Sequence[Request], labels: Sequence[str]) -> Weights:
        """How probable each label is as the next token."""

    @abstractmethod
    def shorten(self, text: str, tokens: int) -> str:
        """A text cut to so many of the model's tokens."""


@dataclass(frozen=True)
class LocalModel(JudgeModel):
    """A model on this machine, as functions. at_once: requests given to them together."""

    completing: Complete
    weighing: Weigh | None = None
    shortening: Shorten | None = None
    at_once: int = 64

    def complete(self, requests: Sequence[Request], sampling: Sampling) -> Replies:
        """Replies, chunk by chunk."""
        for start in range(0, len(requests), self.at_once):
            chunk = requests[start : start + self.at_once]
            yield from enumerate(_all(self.completing(chunk, sampling), chunk), start)

    def weigh(self, requests: Sequence[Request], labels: Sequence[str]) -> Weights:
        """Probabilities, chunk by chunk."""
        if self.weighing is None:
            raise EvaluationError("this judge needs probabilities of tokens; its model gives none")
        for start in range(0, len(requests), self.at_once):
            chunk = requests[start : start + self.at_once]
            yield from enumerate(_all(self.weighing(chunk, labels), chunk), start)

    def shorten(self, text: str, tokens: int) -> str:
        """A text cut to so many tokens."""
        if self.shortening is None:
            raise EvaluationError("this judge cuts answers by its tokens; its model cannot")
        return self.shortening(text, tokens)


def _all(found: Sequence[Reply], requests: Sequence[Request]) -> Sequence[Reply]:
    if len(found) != len(requests):
        raise EvaluationError(f"the judge's model gave {len(found)} replies to {len(requests)}")
    return found
