"""Checkpoints that were saved without their output layer and without the prefix of their names."""

import json
from pathlib import Path

import pytest
import torch
from checkpoints import pickle_model
from safetensors.torch import load_file, save_file
from torch import Tensor

from weightlens.checkpoint.model import open_weights
from weightlens.checkpoint.remote import RemoteWeights
from weightlens.merge.engine import run_merge
from weightlens.merge.resolution import parse_recipe

BARE = ("wte.weight", "h.0.attn.c_attn.weight", "ln_f.weight")


def write(folder: Path, value: float, *, prefix: str = "", **config: object) -> Path:
    """A GPT-2 as the Hub has it, or with the prefix that fine-tunes have."""
    folder.mkdir()
    tensors: dict[str, Tensor] = {prefix + name: torch.full((4, 4), value) for name in BARE}
    save_file(tensors, folder / "model.safetensors")
    said = {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]} | config
    (folder / "config.json").write_text(json.dumps(said))
    return folder


def test_names_are_those_of_the_model_with_its_output_layer(tmp_path: Path) -> None:
    folder = write(tmp_path / "gpt2", 1.0)
    there = {name: ("F32", (4, 4), "model.safetensors") for name in BARE}
    every = [f"transformer.{name}" for name in BARE]
    assert sorted(RemoteWeights(folder, there, label="gpt2").infos) == sorted(every)
    assert sorted(open_weights(folder).infos) == sorted(every)
    opened = open_weights(pickle_model(folder))
    assert sorted(opened.infos) == sorted(every)
    assert opened.transposed == {"transformer.h.0.attn.c_attn.weight"}


@pytest.mark.parametrize(
    "config", [{"architectures": ["GPT2Model"]}, {"model_type": "llama"}, {"architectures": None}]
)
def test_other_models_keep_their_names(tmp_path: Path, config: dict[str, object]) -> None:
    opened = open_weights(write(tmp_path / "other", 1.0, **config))
    assert sorted(opened.infos) == sorted(BARE)


@pytest.mark.parametrize("base", ["hub", "tuned"])
def test_the_hubs_gpt2_merges_with_its_fine_tunes(tmp_path: Path, base: str) -> None:
    """As in mergekit, whichever of the two is the base."""
    write(tmp_path / "hub", 1.0)
    write(tmp_path / "tuned", 3.0, prefix="transformer.")
    (other,) = {"hub", "tuned"} - {base}
    run_merge(
        parse_recipe(
            f"merge_method: task_arithmetic\nbase_model: {tmp_path / base}\n"
            f"models: [{{model: {tmp_path / other}, parameters: {{weight: 0.5}}}}]\n"
        ),
        tmp_path / "out",
    )
    merged = load_file(tmp_path / "out" / "model.safetensors")
    assert sorted(merged) == sorted(f"transformer.{name}" for name in BARE)
    assert all(torch.equal(tensor, torch.full((4, 4), 2.0)) for tensor in merged.values())
