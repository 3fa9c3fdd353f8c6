"""Which draws are asked together.

Greedy answers in 16 bits change with the make-up of a batch, so batches are fixed before anything
is asked, and kept: a run that goes on repeats whole unfinished batches as they were planned. What
is asked for later is planned behind what was planned before.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from xxhash import xxh3_64


class Ask(NamedTuple):
    """One draw: which question, and which of its draws, counted from 0."""

    question: str
    draw: int


Batches = tuple[tuple[Ask, ...], ...]


@dataclass(frozen=True)
class BatchPlan:
    """Batches in the order in which they are asked."""

    batches: Batches = ()

    @property
    def asks(self) -> set[Ask]:
        """Every draw that is planned."""
        return {ask for batch in self.batches for ask in batch}

    def extended(
        self, wanted: Collection[Ask], lengths: Mapping[str, int], size: int
    ) -> "BatchPlan":
        """With those of the wanted draws that are not planned yet, in batches of `size`.

        lengths: tokens of the prompt, by question. Like lengths go together, so that little is
        padding, the longest first: where a batch does not fit into memory, it is the first.
        """
        planned = self.asks
        new = [ask for ask in wanted if ask not in planned]
        new.sort(key=lambda ask: -lengths[ask.question])  # stable: a question's draws stay together
        return replace(self, batches=self.batches + tuple(_cut(new, size)))

    def split(self, number: int, size: int) -> "BatchPlan":
        """With one batch, and all behind it, cut into batches of at most `size`."""
        small = tuple(part for batch in self.batches[number:] for part in _cut(batch, size))
        return replace(self, batches=self.batches[:number] + small)


def draws_of(questions: Sequence[str], draws: int) -> list[Ask]:
    """Every draw of some questions, question by question."""
    return [Ask(question, draw) for question in questions for draw in range(draws)]


def seed_of(task: str, ask: Ask, seed: int) -> int:
    """The seed of a draw, below 2⁶⁴: from task, question, draw and the run's seed, not the model's
    weights, so that models that are compared share their random numbers."""
    return xxh3_64(f"{task}\n{ask.question}\n{ask.draw}\n{seed}".encode()).intdigest()


def unfinished(plan: BatchPlan, wanted: Collection[Ask], done: Collection[Ask]) -> Iterator[int]:
    """Numbers of the batches that hold a wanted draw which is not done."""
    missing = set(wanted) - set(done)
    for number, batch in enumerate(plan.batches):
        if not missing.isdisjoint(batch):
            yield number


def _cut(asks: Sequence[Ask], size: int) -> Iterator[tuple[Ask, ...]]:
    for start in range(0, len(asks), size):
        yield tuple(asks[start : start + size])
