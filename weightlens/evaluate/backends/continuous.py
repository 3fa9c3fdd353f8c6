"""Continuous batching by transformers itself: a row that ends makes room for the next at once.

For CUDA, where it keeps the device full through answers of very different lengths. What shares a
step with an answer depends on timing, so the same prompts need not give the same tokens again; and
all answers are drawn from one stream of random numbers, not from seeds of their own.
"""

from collections.abc import Sequence
from typing import Any

import torch

from weightlens.errors import EvaluationError
from weightlens.evaluate.backends.backend import Backend, OutOfMemory, Prompt, Reply
from weightlens.evaluate.chat import Chat
from weightlens.evaluate.quiet import quiet_transformers
from weightlens.evaluate.task import Sampling

_TOGETHER = 512
"""Prompts that are given at once, and kept when all of them are answered."""
_PAGE = 256
_AT_ONCE = 32
"""Answers under way together on a CPU."""


class ContinuousBatching(Backend):
    """`generate_batch` of transformers 5."""

    name = "continuous"
    repeats = False

    def __init__(self, chat: Chat) -> None:
        """Takes the model as it is loaded."""
        self._chat = chat

    def batch_size(self, longest: int, sampling: Sampling) -> int:
        """transformers divides the memory into pages by itself."""
        return _TOGETHER

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[Reply]:
        """See Backend."""
        from transformers import GenerationConfig

        chat, words = self._chat, self._chat.words
        hot = sampling.temperature > 0
        settings = GenerationConfig(
            max_new_tokens=sampling.max_new_tokens,
            do_sample=hot,
            temperature=sampling.temperature if hot else None,
            top_p=sampling.top_p if hot else None,
            top_k=0 if hot else None,
            eos_token_id=words.ends,
            pad_token_id=words.pad,
        )
        torch.manual_seed(prompts[0].seed % 2**63 if prompts else 0)
        try:
            with quiet_transformers():
                found = chat.model.generate_batch(
                    [list(prompt.tokens) for prompt in prompts],
                    generation_config=settings,
                    continuous_batching_config=self._memory(prompts, sampling),
                )
        except torch.OutOfMemoryError as error:
            raise OutOfMemory from error
        if len(found) != len(prompts) or any(one.error for one in found.values()):
            reason = next((one.error for one in found.values() if one.error), "it says no more")
            raise EvaluationError(
                f"{chat.label}: continuous batching left {len(prompts) - len(found)} of "
                f"{len(prompts)} prompts unanswered ({reason}); use --backend static"
            )
        by_number = sorted(found.values(), key=lambda one: int(one.request_id.rpartition("_")[2]))
        return [self._reply(one.generated_tokens) for one in by_number]

    def _memory(self, prompts: Sequence[Prompt], sampling: Sampling) -> Any:
        """On a CPU no more pages than these prompts need: left alone, it takes nearly all memory
        and fills it with noughts. None where transformers is to decide."""
        if self._chat.model.device.type != "cpu":
            return None
        from transformers import ContinuousBatchingConfig

        longest = max(len(prompt.tokens) for prompt in prompts) + sampling.max_new_tokens
        pages = (1 + longest // _PAGE) * min(len(prompts), _AT_ONCE)
        return ContinuousBatchingConfig(page_size=_PAGE, num_blocks=pages)

    def _reply(self, tokens: Sequence[int]) -> Reply:
        ends = frozenset(self._chat.words.ends)
        end = next((i + 1 for i, token in enumerate(tokens) if token in ends), None)
        return Reply(tuple(tokens[:end]), "length" if end is None else "stop")
