"""Models reading answers that are given: logits of the answers' tokens, a few positions at a time.

The traces of a batch are padded on the right, where no earlier position can see. They are read in
steps with the key-value cache, so that the logits of a whole text are never held: at a vocabulary
of 150,000, 2,000 positions of them take 1.2 GB a model.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from weightlens.errors import EvaluationError
from weightlens.evaluate.drift.divergence import kl_divergence, token_nll
from weightlens.evaluate.drift.traces import Trace
from weightlens.evaluate.forward import cache_name

LOGITS = 2**25
"""Logits of a model held at a time: 128 MiB in float32."""


@runtime_checkable
class Speaker(Protocol):
    """A model that can be asked; `weightlens.evaluate.chat.Chat` is one."""

    @property
    def label(self) -> str:
        """What the user calls it."""
        ...

    @property
    def model(self) -> Any:
        """transformers' causal language model."""
        ...

    @property
    def tokenizer(self) -> Any:
        """transformers' tokenizer."""
        ...

    def render(self, prompt: str) -> str:
        """The text that the model is given when the user says `prompt`."""
        ...


@dataclass(frozen=True)
class Encoded:
    """A trace in tokens, prompt then answer.

    begins: where the answer's tokens begin. cut: the answer's end did not fit the context.
    """

    trace: Trace
    tokens: tuple[int, ...]
    begins: int
    cut: bool = False

    @property
    def measured(self) -> int:
        """Tokens of the answer."""
        return len(self.tokens) - self.begins


@dataclass(frozen=True)
class Sums:
    """Over the tokens of one answer, in nats. kl: None where one model read alone."""

    nll_base: float
    nll_model: float
    kl: float | None = None


def encode(speaker: Speaker, trace: Trace, rendered: str) -> Encoded:
    """Prompt and answer apart, as in generation, where the prompt's tokens are fixed before the
    first of the answer. Raises EvaluationError where one of them has no token."""
    before, after = tokens(speaker, rendered), tokens(speaker, trace.answer)
    if not before or not after:
        what = "the rendered prompt" if not before else "the answer"
        raise EvaluationError(
            f"{speaker.label}: {what} of trace {trace.id} has no token; leave the trace out"
        )
    return Encoded(trace, (*before, *after), begins=len(before))


def tokens(speaker: Speaker, text: str) -> tuple[int, ...]:
    """Tokens of a text, nothing added. Raises EvaluationError for one that the model has no
    embedding of."""
    found: list[int] = speaker.tokenizer.encode(text, add_special_tokens=False)
    rows = int(speaker.model.get_input_embeddings().weight.shape[0])
    if found and max(found) >= rows:
        raise EvaluationError(
            f"{speaker.label}: token {max(found)} of its tokenizer lies beyond the {rows} rows of "
            "its embedding; the tokenizer is of another model, or the embedding was not resized"
        )
    return tuple(found)


def batches(encoded: Sequence[Encoded], batch_tokens: int) -> Iterator[list[Encoded]]:
    """Traces of like length together, longest first, so that memory runs out at once or never; at
    most `batch_tokens` with padding, of which a quarter at most is padding, and one trace at
    least."""
    batch: list[Encoded] = []
    for item in sorted(encoded, key=lambda e: len(e.tokens), reverse=True):
        width = len(batch[0].tokens) if batch else 0
        if batch and (width * (len(batch) + 1) > batch_tokens or 4 * len(item.tokens) < 3 * width):
            yield batch
            batch = []
        batch.append(item)
    if batch:
        yield batch


def read_together(base: Speaker, model: Speaker, batch: Sequence[Encoded]) -> list[Sums]:
    """Both models on the same tokens, position by position.

    Where one has logits for more tokens (an embedding resized), KL is between the distributions
    over those that both have.
    """
    totals = torch.zeros(len(batch), 3, dtype=torch.float64)
    ids = _padded(batch)
    step = _step(len(batch), max(_vocab(base), _vocab(model)))
    for start, ours, theirs in zip(
        range(0, ids.shape[1], step), _logits(base, ids, step), _logits(model, ids, step),
        strict=True,
    ):  # fmt: skip
        shared = min(ours.shape[-1], theirs.shape[-1])
        for row, here, targets in _answers(batch, ids, start, step):
            p, q = ours[row, here], theirs[row, here]
            totals[row, 0] += token_nll(p, targets.to(p.device)).sum().cpu()
            totals[row, 1] += token_nll(q, targets.to(q.device)).sum().cpu()
            totals[row, 2] += kl_divergence(p[:, :shared], q[:, :shared]).sum().cpu()
    return [Sums(*map(float, row)) for row in totals]


def read_alone(speaker: Speaker, batch: Sequence[Encoded]) -> list[float]:
    """Negative log-likelihood of every answer under one model, in nats."""
    totals = torch.zeros(len(batch), dtype=torch.float64)
    ids = _padded(batch)
    step = _step(len(batch), _vocab(speaker))
    for start, logits in zip(
        range(0, ids.shape[1], step), _logits(speaker, ids, step), strict=True
    ):
        for row, here, targets in _answers(batch, ids, start, step):
            totals[row] += token_nll(logits[row, here], targets.to(logits.device)).sum().cpu()
    return [float(total) for total in totals]


def context(speaker: Speaker) -> int | None:
    """Positions that a model was made for; None where its config does not say."""
    config = speaker.model.config
    inner = config.get_text_config() if hasattr(config, "get_text_config") else config
    length: int | None = getattr(inner, "max_position_embeddings", None)
    return length


def _padded(batch: Sequence[Encoded]) -> Tensor:
    ids = torch.zeros(len(batch), max(len(item.tokens) for item in batch), dtype=torch.long)
    for row, item in enumerate(batch):
        ids[row, : len(item.tokens)] = torch.tensor(item.tokens)
    return ids


def _answers(
    batch: Sequence[Encoded], ids: Tensor, start: int, step: int
) -> Iterator[tuple[int, slice, Tensor]]:
    """Of the positions from start on: those whose next token is of an answer, and that token."""
    for row, item in enumerate(batch):
        first = max(item.begins - 1, start)
        last = min(len(item.tokens) - 1, start + step)
        if first < last:
            yield row, slice(first - start, last - start), ids[row, first + 1 : last + 1]


def _logits(speaker: Speaker, ids: Tensor, step: int) -> Iterator[Tensor]:
    model, width, cache = speaker.model, ids.shape[1], None
    name = cache_name(model)
    for start in range(0, width, step):
        with torch.inference_mode():
            out = model(
                input_ids=ids[:, start : start + step].to(model.device),
                use_cache=width > step,
                **{name: cache},
            )
        cache = getattr(out, name, None)
        if cache is None and start + step < width:
            raise EvaluationError(
                f"{speaker.label}: keeps no key-value cache, so that its {width} positions cannot "
                f"be read {step} at a time; use shorter traces, or fewer tokens a batch"
            )
        yield out.logits


def _step(rows: int, vocab: int) -> int:
    return max(1, LOGITS // (rows * vocab))


def _vocab(speaker: Speaker) -> int:
    return int(speaker.model.get_output_embeddings().weight.shape[0])
