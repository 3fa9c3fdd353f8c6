"""Tiny models with a tokenizer: so many words, so many rows of embeddings, a chat template."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from checkpoints import HIDDEN, llama_tensors, moved, write_model
from safetensors.torch import load_file
from torch import Tensor

EMBEDDINGS = ("model.embed_tokens.weight", "lm_head.weight")


def words(count: int, *, first: str = "w") -> list[str]:
    """So many words, the unknown one among them."""
    return ["<unk>", *(f"{first}{i}" for i in range(1, count))]


def worded(
    folder: Path,
    seed: int,
    vocabulary: Sequence[str],
    *,
    rows: int | None = None,
    template: str | None = None,
) -> Path:
    """A Llama that differs with the seed, with that vocabulary. rows: of the embeddings; as many as
    there are words where none are given."""
    tensors = moved(llama_tensors(0), seed)
    count = len(vocabulary) if rows is None else rows
    generator = torch.Generator().manual_seed(seed)
    for name in EMBEDDINGS:
        tensors[name] = torch.randn(count, HIDDEN, generator=generator)
    write_model(folder, tensors)
    settle(folder / "config.json", vocab_size=count)
    write_tokenizer(folder, {word: i for i, word in enumerate(vocabulary)})
    if template is not None:
        (folder / "chat_template.jinja").write_text(template)
    return folder


def write_tokenizer(folder: Path, vocabulary: Mapping[str, int]) -> None:
    """A tokenizer by words, as transformers saves it."""
    said = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [],
        "normalizer": None, "pre_tokenizer": {"type": "Whitespace"}, "post_processor": None,
        "decoder": None,
        "model": {"type": "WordLevel", "vocab": dict(vocabulary), "unk_token": "<unk>"},
    }  # fmt: skip
    (folder / "tokenizer.json").write_text(json.dumps(said))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "<unk>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def settle(file: Path, **values: Any) -> None:
    """Changes keys of a JSON file; None takes one away."""
    found = json.loads(file.read_text()) if file.exists() else {}
    found = {key: value for key, value in (found | values).items() if value is not None}
    file.write_text(json.dumps(found))


def tensors_of(folder: Path) -> dict[str, Tensor]:
    """The weights of a folder with one file."""
    return load_file(folder / "model.safetensors")


def linear(*models: object, **settings: object) -> str:
    """A recipe: the mean of the models."""
    listed = [{"model": str(model), "parameters": {"weight": 1}} for model in models]
    return json.dumps({"merge_method": "linear", "models": listed, **settings})


def added(base: object, *models: object, **settings: object) -> str:
    """A recipe: half of each model's delta added to the base."""
    listed = [{"model": str(model), "parameters": {"weight": 0.5}} for model in models]
    recipe = {"merge_method": "task_arithmetic", "base_model": str(base), "models": listed}
    return json.dumps(recipe | settings)
