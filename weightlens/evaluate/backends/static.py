"""Batches that start together: prompts padded on the left, finished rows leave.

The loop is ours and not `model.generate`: every row draws with numbers of its own, whatever else is
in the batch; rows that have ended leave the batch with their keys and values, so that the last long
answers do not pay for the short ones; keys and values grow in place.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from weightlens.evaluate.backends.backend import Backend, OutOfMemory, Prompt, Reply
from weightlens.evaluate.backends.capacity import rows_that_fit
from weightlens.evaluate.backends.choosing import Uniforms, drawn, likeliest
from weightlens.evaluate.backends.growing import can_drop_rows, growing_cache
from weightlens.evaluate.chat import Chat
from weightlens.evaluate.forward import cache_name, takes
from weightlens.evaluate.task import Sampling
from weightlens.evaluate.words import Words

_LEAVE = 1 / 8
"""Share of the rows that have ended at which they leave: leaving copies the whole cache once."""


class StaticBatching(Backend):
    """transformers' models on any device, in batches that are fixed beforehand."""

    name = "static"
    repeats = True

    def __init__(self, chat: Chat) -> None:
        """Takes the model as it is loaded."""
        self._words, self._model = chat.words, chat.model
        self._takes, self._cache_name = takes(chat.model), cache_name(chat.model)

    def batch_size(self, longest: int, sampling: Sampling) -> int:
        """As many as the memory holds keys and values of, at the longest that answers can be."""
        length = longest + sampling.max_new_tokens
        return rows_that_fit(self._model, min(length, self._words.context or length))

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[Reply]:
        """See Backend."""
        if not prompts:
            return []
        try:
            with torch.inference_mode():
                return self._generate(prompts, sampling)
        except (torch.OutOfMemoryError, MemoryError) as error:
            raise OutOfMemory from error
        except RuntimeError as error:
            if "not enough memory" not in str(error):
                raise
            raise OutOfMemory from error  # what the allocator of the CPU says

    def _generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[Reply]:
        batch = _Batch(prompts, self._words, self._model.device, sampling)
        cache = growing_cache(self._model.config)
        droppable = can_drop_rows(cache)
        ids = batch.ids
        while True:
            tokens = batch.next_tokens(self._logits(ids, batch, cache))
            staying = batch.add(tokens)
            if not staying:
                return batch.replies()
            if droppable and len(staying) <= (1 - _LEAVE) * len(batch.rows):
                kept = torch.tensor(staying, device=ids.device)
                cache.batch_select_indices(kept)
                batch.keep(staying)
                tokens = tokens[kept]
            ids = tokens[:, None]

    def _logits(self, ids: Tensor, batch: "_Batch", cache: Any) -> Tensor:
        given: dict[str, Any] = {
            "input_ids": ids,
            "attention_mask": batch.mask[:, : batch.length],
            self._cache_name: cache,
            "use_cache": True,
        }
        if "position_ids" in self._takes:
            given["position_ids"] = batch.positions(ids.shape[1])
        if "logits_to_keep" in self._takes:
            given["logits_to_keep"] = 1
        logits: Tensor = self._model(**given).logits
        return logits[:, -1]


class _Batch:
    """Rows under way: which prompt each one is, its mask, and what was said so far.

    rows: the number of the prompt that each row of the tensors belongs to. length: tokens that the
    longest has, padding and answer included.
    """

    def __init__(
        self, prompts: Sequence[Prompt], words: Words, device: torch.device, sampling: Sampling
    ) -> None:
        self._ends, self._sampling = frozenset(words.ends), sampling
        self.length = width = max(len(prompt.tokens) for prompt in prompts)
        self._limit = min(sampling.max_new_tokens, (words.context or 2**62) - width)
        self.rows = list(range(len(prompts)))
        self._said: list[list[int]] = [[] for _ in prompts]
        self._uniforms = [Uniforms(prompt.seed) for prompt in prompts]
        ids = torch.full((len(prompts), width), words.pad)
        mask = torch.ones(len(prompts), width + max(self._limit, 1), dtype=torch.long)
        for row, prompt in enumerate(prompts):
            ids[row, width - len(prompt.tokens) :] = torch.tensor(prompt.tokens)
            mask[row, : width - len(prompt.tokens)] = 0
        self.ids, self.mask = ids.to(device), mask.to(device)
        self._padding = self.mask.shape[1] - self.mask.sum(1, keepdim=True)

    def positions(self, count: int) -> Tensor:
        """Of the last `count` tokens of every row, counted from its first that is no padding."""
        last = torch.arange(self.length - count, self.length, device=self.mask.device)
        return (last[None] - self._padding).clamp(min=0)

    def next_tokens(self, logits: Tensor) -> Tensor:
        """One token for every row."""
        if self._sampling.temperature == 0:
            return likeliest(logits)
        numbers = [self._uniforms[i][len(self._said[i])] for i in self.rows]
        return drawn(logits, torch.tensor(numbers, dtype=torch.float64), self._sampling)

    def add(self, tokens: Tensor) -> list[int]:
        """Takes a token for every row; the places of the rows that go on."""
        self.length += 1
        staying = []
        for place, (row, token) in enumerate(zip(self.rows, tokens.tolist(), strict=True)):
            said = self._said[row]
            if not self._over(said):
                said.append(token)
                if not self._over(said):
                    staying.append(place)
        return staying

    def keep(self, places: Sequence[int]) -> None:
        """Drops all other rows."""
        kept = torch.tensor(places, device=self.mask.device)
        self.rows = [self.rows[place] for place in places]
        self.mask, self._padding = self.mask[kept], self._padding[kept]

    def replies(self) -> list[Reply]:
        """What was said, in the order of the prompts."""
        return [
            Reply(tuple(said), "stop" if said and said[-1] in self._ends else "length")
            for said in self._said
        ]

    def _over(self, said: Sequence[int]) -> bool:
        return len(said) >= self._limit or bool(said and said[-1] in self._ends)
