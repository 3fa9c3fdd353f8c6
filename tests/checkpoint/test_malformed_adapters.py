"""Adapters that cannot be what they say: an error of the input, as soon as they are opened."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoints import Folders, llama_tensors, write_adapter
from safetensors.torch import load_file, save_file
from torch import Tensor

from weightlens.checkpoint.adapter import Adapter
from weightlens.checkpoint.adapter_sum import AdapterSum
from weightlens.errors import (
    AdapterMismatch,
    CheckpointError,
    NonFiniteTensor,
    UnsupportedTensor,
)

NAME = "model.layers.0.self_attn.q_proj.weight"
KEY = "base_model.model.model.layers.0.self_attn.q_proj"
A, B, MAGNITUDE = (
    f"{KEY}.{n}" for n in ("lora_A.weight", "lora_B.weight", "lora_magnitude_vector")
)


def with_tensors(folders: Folders, **tensors: Tensor) -> Path:
    """The adapter with other tensors of one module, by the last part of their names."""
    file = folders.adapter / "adapter_model.safetensors"
    changed = {f"{KEY}.{name.replace('__', '.')}": tensor for name, tensor in tensors.items()}
    save_file(load_file(file) | changed, file)
    return folders.adapter


def configured(folders: Folders, **config: Any) -> Path:
    file = folders.adapter / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | config))
    return folders.adapter


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((), (24, 4)),
        ((4, 24), ()),
        ((4,), (24, 4)),
        ((0, 24), (24, 0)),
        ((4, 24), (24, 3)),
        ((4, 0), (0, 4)),
    ],
)
def test_factors_that_are_no_pair_of_matrices_are_refused(
    folders: Folders, a: tuple[int, ...], b: tuple[int, ...]
) -> None:
    folder = with_tensors(folders, lora_A__weight=torch.ones(a), lora_B__weight=torch.ones(b))
    with pytest.raises(AdapterMismatch, match=f"factors of {NAME} do not fit each other"):
        Adapter(folder)


def test_factors_of_a_convolution_are_not_understood(folders: Folders) -> None:
    factors = {"lora_A__weight": torch.ones(4, 24, 1, 1), "lora_B__weight": torch.ones(24, 4, 1, 1)}
    with pytest.raises(UnsupportedTensor, match=f"{NAME} is a convolution"):
        Adapter(with_tensors(folders, **factors))


def test_magnitudes_have_an_entry_for_each_output_of_their_factors(folders: Folders) -> None:
    assert Adapter(with_tensors(folders, lora_magnitude_vector=torch.ones(1, 24))).is_dora(NAME)
    folder = with_tensors(folders, lora_magnitude_vector=torch.ones(1))
    with pytest.raises(AdapterMismatch, match=f"{NAME} has 24 outputs but 1 magnitudes"):
        Adapter(folder)
    file = folder / "adapter_model.safetensors"
    save_file({n: t for n, t in load_file(file).items() if n not in (A, B)}, file)
    with pytest.raises(CheckpointError, match=f"{NAME} has a magnitude but no factors"):
        Adapter(folder)


@pytest.mark.parametrize(
    "config",
    [
        {"lora_alpha": 10**400},
        {"lora_alpha": float("nan")},
        {"lora_alpha": float("inf")},
        {"lora_alpha": 1e39},
        {"lora_alpha": 1e-300},
        {"lora_alpha": []},
        {"alpha_pattern": {"q_proj": float("nan")}},
        {"alpha_pattern": {"q_proj": 10**400}},
        {"alpha_pattern": {"(?i)q_proj": 1}},
        {"alpha_pattern": ["q_proj"]},
    ],
)
def test_an_alpha_is_a_number_that_float32_holds(folders: Folders, config: dict[str, Any]) -> None:
    with pytest.raises(CheckpointError, match="not an adapter configuration"):
        Adapter(configured(folders, **config))


def test_settings_that_nest_without_end_are_an_error_of_the_input(folders: Folders) -> None:
    (folders.adapter / "adapter_config.json").write_text("[" * 100_000)
    with pytest.raises(CheckpointError, match="not an adapter configuration"):
        Adapter(folders.adapter)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"alora_invocation_tokens": [1, 2]}, "some tokens of a prompt"),
        ({"layer_replication": [[0, 1], [0, 1]]}, "copies of the base's"),
    ],
)
def test_what_is_more_than_a_delta_of_the_base_is_refused(
    folders: Folders, config: dict[str, Any], said: str
) -> None:
    assert Adapter(configured(folders, **dict.fromkeys(config)))
    with pytest.raises(UnsupportedTensor, match=rf"{next(iter(config))}: .*{said}"):
        Adapter(configured(folders, **config))


def test_a_sum_beyond_float32_is_found(folders: Folders, tmp_path: Path) -> None:
    second = write_adapter(tmp_path / "second", llama_tensors(0), seed=9)
    large = with_tensors(folders, lora_B__weight=torch.full((24, 4), 3e38))
    with pytest.raises(NonFiniteTensor, match=f"{NAME}: the factors of .*beyond float32"):
        AdapterSum([Adapter(large), Adapter(second)]).factored(NAME)
