"""What a backend is: it is given prompts as tokens, and answers with tokens."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from weightlens.evaluate.task import Sampling


@dataclass(frozen=True)
class Prompt:
    """Tokens that a model goes on from. seed: of the draw; without meaning where it is greedy."""

    tokens: tuple[int, ...]
    seed: int = 0


@dataclass(frozen=True)
class Reply:
    """Generated tokens, the one that ends the answer among them. finish: length where the limit of
    new tokens or the model's context ended it."""

    tokens: tuple[int, ...]
    finish: Literal["stop", "length"]


class OutOfMemory(Exception):
    """A batch did not fit; a smaller one may."""


class Backend(ABC):
    """Answers prompts with one model.

    name: as it is asked for. repeats: whether the same batch on the same machine gives the same
    tokens again.
    """

    name: str
    repeats: bool

    @abstractmethod
    def batch_size(self, longest: int, sampling: Sampling) -> int:
        """How many prompts of at most `longest` tokens to give at once."""

    @abstractmethod
    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[Reply]:
        """Replies in the order of the prompts. Raises OutOfMemory where they are too many."""
