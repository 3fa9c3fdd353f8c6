"""Recipes with `output: adapter`, carried out by us, and what PEFT makes of their output."""

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from checkpoints import Folders, llama_tensors, write_adapter
from safetensors.torch import load_file
from torch import Tensor

from weightlens.checkpoint.model import open_model
from weightlens.checkpoint.read import FolderWeights
from weightlens.merge.engine import run_merge
from weightlens.merge.record import MergeReport
from weightlens.merge.resolution import parse_recipe

ONE_EACH = (
    "- {{model: {a}, parameters: {{weight: 1}}}}\n- {{model: {b}, parameters: {{weight: 1}}}}\n"
)
"""The two adapters of most tests."""

TASK_ARITHMETIC = "merge_method: task_arithmetic\nbase_model: {base}\n"
SUM = f"{TASK_ARITHMETIC}models:\n{ONE_EACH}"


def two_adapters(folders: Folders, tmp_path: Path) -> dict[str, Path]:
    """Places of a base, a full fine-tune, and adapters a and b of different rank and scale."""
    second = write_adapter(
        tmp_path / "second", llama_tensors(0), rank=3, seed=9,
        config={"lora_alpha": 2, "use_rslora": True},
    )  # fmt: skip
    return {"base": folders.base, "full": folders.full, "a": folders.adapter, "b": second}


def merged(text: str, places: Mapping[str, Path], out: Path, **options: Any) -> MergeReport:
    """Carries out a recipe to an adapter. text: with the names of places in braces."""
    return run_merge(parse_recipe(f"output: adapter\n{text}".format(**places)), out, **options)


def dense(text: str, places: Mapping[str, Path], out: Path) -> dict[str, Tensor]:
    """The weights of the same recipe as a model."""
    run_merge(parse_recipe(text.format(**places)), out)
    return load_file(out / "model.safetensors")


def on_base(adapter: Path, base: Path) -> dict[str, Tensor]:
    """The base with an adapter on it."""
    weights, model = FolderWeights(base), open_model(adapter)
    model.check_against(weights)
    return {name: model.tensor(name, weights) for name in weights.infos}


def config_of(out: Path) -> dict[str, Any]:
    return json.loads((out / "adapter_config.json").read_text())


def merged_by_peft(base: Path, adapter: Path) -> dict[str, Tensor]:
    """What PEFT makes of a base and an adapter, which must have all that it looks for."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*missing adapter keys.*")
        model = AutoModelForCausalLM.from_pretrained(base)
        loaded = PeftModel.from_pretrained(model, str(adapter))
    return loaded.merge_and_unload().state_dict()


def trained_by_peft(base: Path, folder: Path, seed: int, **config: Any) -> Path:
    """An adapter that PEFT made and saved, its parameters moved at random as by training."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), LoraConfig(**config))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    model.save_pretrained(folder)
    return folder
