"""A model with its tokenizer and chat template: what it is told, and what it said."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from weightlens.checkpoint.config import read_config, text_config
from weightlens.checkpoint.model import open_model
from weightlens.errors import EvaluationError, WeightlensError
from weightlens.evaluate.quiet import quiet_transformers
from weightlens.evaluate.words import Words
from weightlens.machine import has_bfloat16

Precision = Literal["auto", "float32", "bfloat16", "float16"]
"""What a model computes in. auto: bfloat16 where the processor has it, if the weights have 16 bits;
else float32."""


_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Loading:
    """How a model is loaded. device: None for CUDA where there is one. chat_template: the text of
    one that replaces the model's own."""

    device: str | None = None
    dtype: Precision = "auto"
    chat_template: str | None = None


class Chat:
    """A model that is loaded, with its words."""

    def __init__(self, model: Any, tokenizer: Any, label: str) -> None:
        """A transformers causal LM and tokenizer. Raises EvaluationError as `Words` does."""
        self.words = Words(
            tokenizer, label, config=model.config, generation=model.generation_config
        )
        self.model = model.eval()

    @property
    def label(self) -> str:
        """What the user calls the model."""
        return self.words.label

    @property
    def tokenizer(self) -> Any:
        """transformers' tokenizer."""
        return self.words.tokenizer

    def render(self, prompt: str) -> str:
        """The text that the model is given when the user says `prompt`."""
        return self.words.render(prompt)


def load_chat(
    path: Path,
    *,
    adapters: Sequence[Path] = (),
    label: str | None = None,
    loading: Loading = Loading(),
) -> Chat:
    """Loads a model folder with transformers (and adapters with PEFT, kept apart, all active).

    Raises CheckpointError for damaged weights, AdapterMismatch for adapters that do not fit,
    EvaluationError for what transformers cannot load, or loads with tensors missing or not finite.
    """
    import transformers

    label = label or str(path)
    described = open_model(path, adapters=adapters, label=label)  # damaged files are told by name
    if described.weights is not None:
        described.adapters.check_fits(described.weights)
    elif adapters:
        raise EvaluationError(f"{label}: adapters alone; put the model that they are for in front")
    try:
        with quiet_transformers():
            tokenizer = transformers.AutoTokenizer.from_pretrained(path)
            loaded: Any = transformers.AutoModelForCausalLM.from_pretrained(
                path, dtype=precision(path, loading), output_loading_info=True
            )
        model, missing = loaded
        placed: Any = _with_adapters(model, adapters, label) if adapters else model
        placed = placed.to(placed_on(loading))
    except WeightlensError:
        raise
    except (OSError, ValueError, KeyError, RuntimeError, AssertionError) as error:
        reason = str(error).strip().split("\n")[0]
        raise EvaluationError(f"{label}: transformers cannot load it ({reason})") from error
    _check_whole(placed, missing, label)
    if loading.chat_template is not None:
        tokenizer.chat_template = loading.chat_template
    return Chat(placed, tokenizer, label)


def load_words(path: Path, label: str, loading: Loading) -> Words:
    """The words of a model's folder, for a backend that loads the weights itself.

    Raises EvaluationError for what transformers cannot load.
    """
    import transformers

    try:
        with quiet_transformers():
            tokenizer = transformers.AutoTokenizer.from_pretrained(path)
            config = transformers.AutoConfig.from_pretrained(path)
            generation = transformers.GenerationConfig.from_model_config(config)
            if (path / "generation_config.json").is_file():
                generation = transformers.GenerationConfig.from_pretrained(path)
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).strip().split("\n")[0]
        raise EvaluationError(f"{label}: transformers cannot load it ({reason})") from error
    if loading.chat_template is not None:
        tokenizer.chat_template = loading.chat_template
    return Words(tokenizer, label, config=config, generation=generation)


def placed_on(loading: Loading) -> str:
    """The device that a model is loaded on."""
    return loading.device or ("cuda" if torch.cuda.is_available() else "cpu")


def precision(path: Path, loading: Loading) -> torch.dtype:
    """What the model of a folder computes in. Raises CheckpointError where config.json is none."""
    if loading.dtype != "auto":
        return _DTYPES[loading.dtype]
    config = read_config(path)
    stored = {**config, **text_config(config)}
    if str(stored.get("dtype") or stored.get("torch_dtype")) not in ("bfloat16", "float16"):
        return torch.float32
    cuda = placed_on(loading).startswith("cuda")
    fast = torch.cuda.is_bf16_supported() if cuda else has_bfloat16()
    return torch.bfloat16 if fast else torch.float32


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
