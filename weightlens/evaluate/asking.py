"""One model on one task: plan the draws, ask for those that are missing, score them, keep them."""

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

from weightlens.errors import EvaluationError
from weightlens.evaluate.backends.backend import Backend, OutOfMemory, Prompt, Reply
from weightlens.evaluate.degeneration import degeneration
from weightlens.evaluate.plan import Ask, draws_of, seed_of, unfinished
from weightlens.evaluate.records import Answers
from weightlens.evaluate.result import Draw
from weightlens.evaluate.task import Question, Task
from weightlens.evaluate.words import Words

Progress = Callable[[int, int], None]
"""Told the draws that are done and their total."""

_SCORERS = 2
"""Answers that are scored side by side: code runs in processes of its own."""


@dataclass(frozen=True)
class Asked:
    """What is wanted of one task: its questions, how often each, and the seed of the run."""

    task: Task
    questions: Sequence[Question]
    draws: int
    seed: int

    @cached_property
    def by_id(self) -> Mapping[str, Question]:
        """The questions by their ids."""
        return {question.id: question for question in self.questions}

    @property
    def wanted(self) -> list[Ask]:
        """Every draw, question by question."""
        return draws_of([question.id for question in self.questions], self.draws)

    def seed_of(self, ask: Ask) -> int | None:
        """The seed of a draw, None where answers are greedy."""
        return seed_of(self.task.name, ask, self.seed) if self.task.sampling.temperature else None


class Speaker:
    """A loaded model: its words, and the backend that generates."""

    def __init__(self, words: Words, backend: Backend, batch_size: int | None = None) -> None:
        """batch_size: None for as many as fit."""
        self.words, self.backend, self._size = words, backend, batch_size

    def ask(
        self, asked: Asked, answers: Answers, progress: Progress = lambda done, total: None
    ) -> None:
        """Asks for the draws that `answers` lacks, batch by batch, and keeps them there.

        A batch that does not fit into memory is halved, with all behind it, and so planned anew.
        Raises EvaluationError for a question longer than the model's context.
        """
        wanted, rendered = asked.wanted, _Rendered(self.words, asked.by_id)
        if any(ask not in answers.plan.asks for ask in wanted):
            lengths = {q.id: len(rendered.tokens(q.id)) for q in asked.questions}
            self._check_lengths(lengths)
            longest = max(lengths.values())
            size = self._size or self.backend.batch_size(longest, asked.task.sampling)
            answers.set_plan(answers.plan.extended(wanted, lengths, size))
        progress(sum(ask in answers.done for ask in wanted), len(wanted))
        while (number := next(unfinished(answers.plan, wanted, answers.done), None)) is not None:
            batch = answers.plan.batches[number]
            prompts = [Prompt(rendered.tokens(ask.question), asked.seed_of(ask) or 0)
                       for ask in batch]  # fmt: skip
            began = time.monotonic()
            try:
                replies = self.backend.generate(prompts, asked.task.sampling)
            except OutOfMemory as error:
                if len(batch) == 1:
                    raise EvaluationError(
                        f"{self.words.label}: {asked.task.name}: out of memory for a single answer "
                        "of this length; allow fewer new tokens (--max-new-tokens)"
                    ) from error
                answers.set_plan(answers.plan.split(number, (len(batch) + 1) // 2))
                continue
            seconds = time.monotonic() - began
            answers.add(number, self._scored(asked, batch, replies, rendered), seconds)
            progress(sum(ask in answers.done for ask in wanted), len(wanted))

    def _check_lengths(self, lengths: Mapping[str, int]) -> None:
        longest = max(lengths, key=lambda question: lengths[question])
        if self.words.context is not None and lengths[longest] >= self.words.context:
            raise EvaluationError(
                f"{self.words.label}: question {longest} has {lengths[longest]} tokens, and the "
                f"model's context holds {self.words.context}; leave it out"
            )

    def _scored(
        self, asked: Asked, batch: Sequence[Ask], replies: Sequence[Reply], rendered: "_Rendered"
    ) -> list[Draw]:
        def scored(ask: Ask, reply: Reply) -> Draw:
            raw = self.words.said(reply.tokens)
            said = Said(raw, self.words.spoken(rendered.text(ask.question), raw), reply)
            return draw_of(asked.task, asked.by_id[ask.question], ask, said, asked.seed_of(ask))

        with ThreadPoolExecutor(_SCORERS) as pool:
            return list(pool.map(scored, batch, replies))


@dataclass(frozen=True)
class Said:
    """An answer as text. answer: without the thinking."""

    raw: str
    answer: str
    reply: Reply


def draw_of(task: Task, question: Question, ask: Ask, said: Said, seed: int | None) -> Draw:
    """The record of an answer, scored. Of a private task it holds hashes in the place of texts, and
    of an outcome its kind alone: the rest may quote a test."""
    verdict = task.score(question, said.answer)
    cut = said.reply.finish == "length"
    kept = _hashed if task.private else str
    return Draw(
        question=ask.question,
        draw=ask.draw,
        seed=seed,
        group=question.group,
        prompt=kept(question.prompt),
        raw=kept(said.raw),
        answer=kept(said.answer),
        reference=kept(question.reference),
        extracted=None if verdict.extracted is None else kept(verdict.extracted),
        outcome=verdict.outcome.partition(":")[0] if task.private else verdict.outcome,
        verdict=verdict.value,
        finish=said.reply.finish,
        tokens=len(said.reply.tokens),
        degenerate=degeneration(said.answer, said.raw, question.prompt, truncated=cut),
    )


class _Rendered:
    """The prompts as text and as tokens, each made once."""

    def __init__(self, words: Words, questions: Mapping[str, Question]) -> None:
        self._words, self._questions = words, questions
        self._texts: dict[str, str] = {}
        self._tokens: dict[str, tuple[int, ...]] = {}

    def text(self, question: str) -> str:
        if question not in self._texts:
            self._texts[question] = self._words.render(self._questions[question].prompt)
        return self._texts[question]

    def tokens(self, question: str) -> tuple[int, ...]:
        if question not in self._tokens:
            self._tokens[question] = tuple(self._words.encode(self.text(question)))
        return self._tokens[question]


def _hashed(text: str) -> str:
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
