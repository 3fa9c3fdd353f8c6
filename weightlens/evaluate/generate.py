"""Greedy answers from a causal language model, in batches of like length."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from weightlens.checkpoint.model import open_model
from weightlens.errors import EvaluationError, WeightlensError
from weightlens.evaluate.quiet import quiet_transformers

THOUGHT_BEGINS = "<think>"
THOUGHT_ENDS = "</think>"

Progress = Callable[[int, int], None]
"""Told the questions answered and their total."""


@dataclass(frozen=True)
class Answer:
    """What a model said. raw: everything; text: without the thinking and special tokens.

    truncated: generation ran into its limit. A thought that never ends leaves no text.
    """

    raw: str
    text: str
    truncated: bool
    tokens: int


class Chat:
    """A model with its tokenizer and chat template, ready to answer."""

    def __init__(self, model: Any, tokenizer: Any, label: str) -> None:
        """A transformers causal LM and tokenizer. Raises EvaluationError without chat template."""
        if not tokenizer.chat_template:
            raise EvaluationError(f"{label}: its tokenizer has no chat template")
        self.model, self.tokenizer, self.label = model.eval(), tokenizer, label
        self._ends = _end_tokens(model, tokenizer)
        self._pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else self._ends[0]

    def answer(
        self,
        prompts: Sequence[str],
        *,
        max_new_tokens: int,
        batch_size: int = 64,
        progress: Progress = lambda done, total: None,
    ) -> list[Answer]:
        """Greedy answers, in the order of the prompts."""
        rendered = [self._rendered(prompt) for prompt in prompts]
        encoded = [self.tokenizer.encode(text, add_special_tokens=False) for text in rendered]
        order = sorted(range(len(prompts)), key=lambda i: len(encoded[i]))
        answers: dict[int, Answer] = {}
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            generated = self._generate([encoded[i] for i in batch], max_new_tokens)
            for i, tokens in zip(batch, generated, strict=True):
                answers[i] = self._read(rendered[i], tokens, max_new_tokens)
            progress(len(answers), len(order))
        return [answers[i] for i in range(len(prompts))]

    def _rendered(self, prompt: str) -> str:
        return str(
            self.tokenizer.apply_chat_template(
                [{"role": "user", "content": prompt}], add_generation_prompt=True, tokenize=False
            )
        )

    def _generate(self, batch: list[list[int]], max_new_tokens: int) -> list[list[int]]:
        from transformers import GenerationConfig

        width = max(map(len, batch))
        ids = torch.full((len(batch), width), self._pad)
        mask = torch.zeros_like(ids)
        for row, tokens in enumerate(batch):
            ids[row, width - len(tokens) :] = torch.tensor(tokens)
            mask[row, width - len(tokens) :] = 1
        settings = GenerationConfig(
            max_new_tokens=max_new_tokens,
            do_sample=False,
            eos_token_id=self._ends,
            pad_token_id=self._pad,
        )
        with torch.inference_mode():
            out = self.model.generate(
                input_ids=ids.to(self.model.device),
                attention_mask=mask.to(self.model.device),
                generation_config=settings,
            )
        rows: list[list[int]] = out[:, width:].tolist()
        return rows

    def _read(self, rendered: str, tokens: list[int], limit: int) -> Answer:
        end = next((i for i, token in enumerate(tokens) if token in self._ends), None)
        said = tokens if end is None else tokens[:end]
        raw = self.tokenizer.decode(said, skip_special_tokens=False)
        return Answer(
            raw=raw,
            text=self._spoken(rendered, raw),
            truncated=end is None and len(tokens) >= limit,
            tokens=len(said) + (end is not None),
        )

    def _spoken(self, rendered: str, raw: str) -> str:
        _, closed, text = raw.rpartition(THOUGHT_ENDS)
        thinking = THOUGHT_BEGINS in raw or rendered.rstrip().endswith(THOUGHT_BEGINS)
        if thinking and not closed:
            return ""
        for token in self.tokenizer.all_special_tokens:
            text = text.replace(token, "")
        return text.strip()


def load_chat(
    path: Path,
    *,
    adapters: Sequence[Path] = (),
    label: str | None = None,
    device: str | None = None,
) -> Chat:
    """Loads a model folder with transformers (and adapters with PEFT, kept apart, all active).

    bfloat16 on CUDA where there is one, float32 on the CPU. Raises CheckpointError for damaged
    weights, AdapterMismatch for adapters that do not fit, EvaluationError for what
    transformers cannot load, or loads with tensors missing or not finite.
    """
    import transformers

    label = label or str(path)
    described = open_model(path, adapters=adapters, label=label)  # damaged files are told by name
    if described.weights is not None:
        described.adapters.check_fits(described.weights)
    elif adapters:
        raise EvaluationError(f"{label}: adapters alone; put the model that they are for in front")
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    try:
        with quiet_transformers():
            tokenizer = transformers.AutoTokenizer.from_pretrained(path)
            loaded: Any = transformers.AutoModelForCausalLM.from_pretrained(
                path, dtype=dtype, output_loading_info=True
            )
        model, loading = loaded
        placed: Any = _with_adapters(model, adapters, label) if adapters else model
        placed = placed.to(device)
    except WeightlensError:
        raise
    except (OSError, ValueError, KeyError, RuntimeError, AssertionError) as error:
        reason = str(error).strip().split("\n")[0]
        raise EvaluationError(f"{label}: transformers cannot load it ({reason})") from error
    _check_whole(placed, loading, label)
    return Chat(placed, tokenizer, label)


def _check_whole(model: Any, loading: Mapping[str, Any], label: str) -> None:
    """transformers fills what a checkpoint lacks with random numbers: scores of those mean
    nothing."""
    absent = sorted(map(str, loading.get("missing_keys", ())))
    if absent:
        raise EvaluationError(f"{label}: {absent[0]} is missing from its weights")
    for name, parameter in model.named_parameters():
        if not torch.isfinite(parameter).all():
            raise EvaluationError(f"{label}: {name} holds NaN or Inf")


def _with_adapters(model: Any, adapters: Sequence[Path], label: str) -> Any:
    try:
        from peft import PeftModel
    except ImportError as error:
        raise EvaluationError(
            f"{label}: adapters are evaluated with peft: pip install 'weightlens-toolkit[align]'"
        ) from error
    # named by number: one folder may be named twice
    (name, folder), *others = ((f"adapter_{i}", str(path)) for i, path in enumerate(adapters))
    try:
        with quiet_transformers():
            placed: Any = PeftModel.from_pretrained(model, folder, adapter_name=name)
            for other, above in others:
                placed.load_adapter(above, adapter_name=other)
        placed.base_model.set_adapter([name, *(other for other, _ in others)])
    except (TypeError, ValueError) as error:
        reason = str(error).strip().split("\n")[0]
        raise EvaluationError(f"{label}: PEFT cannot put the adapters on it ({reason})") from error
    return placed


def _end_tokens(model: Any, tokenizer: Any) -> list[int]:
    configured = model.generation_config.eos_token_id
    ends = configured if isinstance(configured, list) else [configured]
    found = [*dict.fromkeys(e for e in [*ends, tokenizer.eos_token_id] if e is not None)]
    if not found:
        raise EvaluationError("the model has no end-of-sequence token; set one in its config")
    return found
