"""vLLM, where it is installed: the fastest on GPUs for long answers.

Every draw has the seed that it has in every backend, but vLLM draws its numbers in its own way, and
what shares a step with an answer may change its bits: the same prompts need not give the same
tokens again.
"""

from collections.abc import Sequence
from typing import Any

from weightlens.errors import EvaluationError
from weightlens.evaluate.backends.backend import Backend, OutOfMemory, Prompt, Reply
from weightlens.evaluate.chat import Loading, load_words
from weightlens.evaluate.quiet import quiet_transformers
from weightlens.evaluate.task import Sampling
from weightlens.evaluate.words import Words
from weightlens.hub import Resolved

_TOGETHER = 1024
"""Prompts that are given at once, and kept when all of them are answered."""


def open_vllm(at: Resolved, loading: Loading) -> tuple[Words, "Vllm"]:
    """Raises EvaluationError where vLLM is not installed, cannot load the model, or would have to
    add several adapters."""
    try:
        import vllm
    except ImportError as error:
        raise EvaluationError(
            "the backend vllm needs vLLM: pip install 'weightlens-toolkit[vllm]'"
        ) from error
    if len(at.adapters) > 1:
        raise EvaluationError(
            f"{at.label}: vLLM takes one adapter at a time; merge them, or use --backend static"
        )
    words = load_words(at.path, at.label, loading)
    try:
        with quiet_transformers():
            engine = vllm.LLM(
                model=str(at.path),
                dtype=loading.dtype,
                max_model_len=words.context,
                enable_lora=bool(at.adapters),
                max_lora_rank=512 if at.adapters else 16,
            )
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).strip().split("\n")[0]
        raise EvaluationError(f"{at.label}: vLLM cannot load it ({reason})") from error
    adapter = None
    if at.adapters:
        from vllm.lora.request import LoRARequest

        adapter = LoRARequest("adapter", 1, str(at.adapters[0]))
    return words, Vllm(words, engine, adapter)


class Vllm(Backend):
    """An engine that is loaded."""

    name = "vllm"
    repeats = False

    def __init__(self, words: Words, engine: Any, adapter: Any = None) -> None:
        """engine: a vllm.LLM. adapter: its LoRARequest, where it has one."""
        self._words, self._engine, self._adapter = words, engine, adapter

    def batch_size(self, longest: int, sampling: Sampling) -> int:
        """vLLM divides the memory into pages by itself."""
        return _TOGETHER

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[Reply]:
        """See Backend."""
        import torch
        import vllm

        limit = self._words.context or 2**31
        settings = [
            vllm.SamplingParams(
                temperature=sampling.temperature,
                top_p=sampling.top_p,
                max_tokens=min(sampling.max_new_tokens, limit - len(prompt.tokens)),
                seed=prompt.seed % 2**63 if sampling.temperature else None,
                stop_token_ids=self._words.ends,
                skip_special_tokens=False,
                detokenize=False,
            )
            for prompt in prompts
        ]
        given = [{"prompt_token_ids": list(prompt.tokens)} for prompt in prompts]
        try:
            outputs = self._engine.generate(
                given, settings, use_tqdm=False, lora_request=self._adapter
            )
        except torch.OutOfMemoryError as error:
            raise OutOfMemory from error
        said = [output.outputs[0] for output in outputs]
        return [
            Reply(tuple(one.token_ids), "stop" if one.finish_reason == "stop" else "length")
            for one in said
        ]
