"""What a folder is opened as: by its config, and by what its tensors show."""

import json
from pathlib import Path

import pytest
import torch
from checkpoints import Folders, llama_tensors, write_model
from safetensors.torch import save_file
from torch import Tensor

from weightlens.checkpoint.adapter import Adapter
from weightlens.checkpoint.config import (
    block_size,
    quantisation_method,
    read_config,
    text_config,
    without_quantisation,
)
from weightlens.checkpoint.model import open_model
from weightlens.checkpoint.read import FolderWeights, MemoryWeights
from weightlens.errors import CheckpointError, UnsupportedTensor
from weightlens.survey.inspect import inspect_model

AT = "model.layers.0.mlp.up_proj"
WORDS = torch.zeros(4, 6, dtype=torch.int32)
BYTES = torch.zeros(8, 1, dtype=torch.uint8)
SIGNED = torch.zeros(4, 6, dtype=torch.int8)


def configured(folder: Path, **config: object) -> Path:
    file = folder / "config.json"
    file.write_text(json.dumps(read_config(folder) | config))
    return folder


def quantised(folder: Path, packed: dict[str, Tensor], settings: dict[str, object]) -> Path:
    tensors = {n: t for n, t in llama_tensors(0).items() if not n.startswith(f"{AT}.")}
    return configured(write_model(folder, tensors | packed), quantization_config=settings)


PACKED: dict[str, tuple[dict[str, Tensor], dict[str, object]]] = {
    "gptq": ({f"{AT}.qweight": WORDS, f"{AT}.qzeros": WORDS.clone()}, {"quant_method": "gptq"}),
    "awq": ({f"{AT}.qweight": WORDS}, {"quant_method": "awq", "bits": 4}),
    "compressed-tensors": (
        {f"{AT}.weight_packed": WORDS, f"{AT}.weight_scale": torch.ones(4, 1)},
        {"quant_method": "compressed-tensors", "format": "pack-quantized"},
    ),
    "bitsandbytes": (
        {f"{AT}.weight": BYTES, f"{AT}.weight.absmax": torch.zeros(1, dtype=torch.uint8),
         f"{AT}.weight.quant_state.bitsandbytes__nf4": torch.zeros(9, dtype=torch.uint8)},
        {"load_in_4bit": True},
    ),
    "bitsandbytes, 8 bits": (
        {f"{AT}.weight": SIGNED, f"{AT}.SCB": torch.ones(4)},
        {"quant_method": "bitsandbytes", "load_in_8bit": True},
    ),
    "mxfp4": (
        {"model.layers.0.mlp.experts.up_proj_blocks": torch.zeros(2, 4, 1, 16, dtype=torch.uint8),
         "model.layers.0.mlp.experts.up_proj_scales": torch.zeros(2, 4, 1, dtype=torch.uint8)},
        {"quant_method": "mxfp4"},
    ),
    "eetq": ({f"{AT}.weight": SIGNED, f"{AT}.weight_scales": torch.ones(6)},
             {"quant_method": "eetq"}),
    "hqq": ({f"{AT}.W_q": BYTES}, {"quant_method": "hqq"}),
    "aqlm": ({f"{AT}.codes": WORDS, f"{AT}.codebooks": torch.ones(2, 2)},
             {"quant_method": "aqlm"}),
    "vptq": ({f"{AT}.centroids.weight": torch.ones(2, 2), f"{AT}.indices": WORDS},
             {"quant_method": "vptq"}),
    "quanto": ({f"{AT}.weight._data": SIGNED, f"{AT}.weight._scale": torch.ones(4, 1)},
               {"quant_method": "quanto"}),
    "fp8": ({f"{AT}.weight": SIGNED, f"{AT}.weight_scale_inv": torch.ones(1, 1)},
            {"quant_method": "fp8"}),
}  # fmt: skip


@pytest.mark.parametrize("form", PACKED)
def test_packed_weights_are_refused_in_one_sentence(tmp_path: Path, form: str) -> None:
    folder = quantised(tmp_path, *PACKED[form])
    with pytest.raises(UnsupportedTensor) as refused:
        FolderWeights(folder)
    method = form.partition(",")[0]
    assert str(refused.value) == (
        f"{folder}: is quantised ({method}); give the full-precision model or dequantise it first"
    )
    with pytest.raises(UnsupportedTensor, match="is quantised"):
        open_model(folder)


@pytest.mark.parametrize("form", PACKED)
def test_packed_weights_are_still_inspected(tmp_path: Path, form: str) -> None:
    packed, settings = PACKED[form]
    report = inspect_model(str(quantised(tmp_path, packed, settings)))
    assert report.tensors == len(llama_tensors(0)) - 1 + len(packed)


def test_full_precision_is_read_whatever_its_config_remembers(tmp_path: Path) -> None:
    tensors = llama_tensors(0)
    tensors["ids"] = torch.arange(3)
    folder = write_model(tmp_path, tensors)
    configured(folder, quantization_config={"quant_method": "gptq"})
    weights = FolderWeights(folder)
    assert torch.equal(weights.read(f"{AT}.weight"), tensors[f"{AT}.weight"])
    assert weights.config["quantization_config"] == {"quant_method": "gptq"}


def test_without_a_config_that_says_so_integers_are_refused_when_read(tmp_path: Path) -> None:
    save_file({f"{AT}.weight": SIGNED}, tmp_path / "model.safetensors")
    weights = FolderWeights(tmp_path)
    assert weights.config == {}
    with pytest.raises(UnsupportedTensor, match="int8"):
        weights.read(f"{AT}.weight")


def test_an_adapter_beside_the_config_of_a_quantised_base_is_read(folders: Folders) -> None:
    """As QLoRA leaves it: the factors are whole, only the base was in 4 bits."""
    configured(folders.adapter, quantization_config={"load_in_4bit": True})
    adapter = Adapter(folders.adapter)
    assert adapter.factored(f"{AT}.weight").rank == 4


def test_the_type_of_a_state_dict_is_not_guessed() -> None:
    weights = MemoryWeights(llama_tensors(0), "memory")
    assert (weights.config, weights.transposed, weights.scaled) == ({}, frozenset(), frozenset())


@pytest.mark.parametrize("text", ["{", "[]", "\xff"])
def test_a_damaged_config_is_told_by_name(folders: Folders, text: str) -> None:
    (folders.base / "config.json").write_text(text, encoding="latin-1")
    with pytest.raises(CheckpointError, match=r"config\.json: (not valid JSON|a config is a map)"):
        FolderWeights(folders.base)


def test_the_part_on_language_is_used_where_a_config_is_in_parts() -> None:
    assert text_config({"model_type": "llama"}) == {"model_type": "llama"}
    nested = {"model_type": "llava", "text_config": {"hidden_size": 3}}
    assert text_config(nested) == {"model_type": "llava", "hidden_size": 3}
    nested["text_config"] = {"model_type": "mistral"}
    assert text_config(nested) == {"model_type": "mistral"}


@pytest.mark.parametrize(
    ("described", "method", "block"),
    [
        ({}, None, None),
        ({"quantization_config": None}, None, None),
        ({"quantization_config": {"quant_method": "fp8"}}, "fp8", None),
        ({"quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 64]}},
         "fp8", (128, 64)),
        ({"quantization_config": {"quant_method": "fp8", "weight_block_size": [0, 64]}},
         "fp8", None),
        ({"quantization_config": {"quant_method": "fp8", "weight_block_size": 128}}, "fp8", None),
        ({"quantization_config": {"load_in_8bit": True}}, "bitsandbytes", None),
        ({"quantization_config": {"bits": 4}}, "an unnamed method", None),
        ({"compression_config": {"quant_method": "compressed-tensors"}}, "compressed-tensors",
         None),
        ({"text_config": {"quantization_config": {"quant_method": "awq"}}}, "awq", None),
    ],
)  # fmt: skip
def test_a_config_says_how_weights_are_quantised(
    described: dict[str, object], method: str | None, block: tuple[int, int] | None
) -> None:
    assert quantisation_method(described) == method
    assert block_size(described) == block
    assert quantisation_method(without_quantisation(described)) is None


def test_a_block_of_a_state_dict_is_a_copy() -> None:
    held = torch.ones(4)
    MemoryWeights({"w": held}, "held").read_block("w", 0, 4).zero_()
    assert held.tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize("read_as", [None, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_reading_into_memory_gives_the_same_block(
    tmp_path: Path, dtype: torch.dtype, read_as: torch.dtype | None
) -> None:
    saved = {"w": torch.randn(7, 9).to(dtype), "x": torch.randn(50).to(dtype)}
    save_file(saved, tmp_path / "model.safetensors")
    for weights in (
        FolderWeights(tmp_path, read_as=read_as), MemoryWeights(saved, "held", read_as=read_as)
    ):  # fmt: skip
        first, second = torch.empty(20), torch.empty(50)
        with weights.opened("w") as w, weights.opened("x") as x:
            w(first[:5], 13)
            x(second, 0)  # in between: the memory by the way is used again
            w(first[5:], 18)
        assert torch.equal(first, weights.read_block("w", 13, 33))
        assert torch.equal(second, weights.read("x"))


@pytest.mark.parametrize("dtype", [torch.int32, torch.float8_e4m3fn])
def test_what_is_no_number_by_itself_is_not_read_into_memory(
    tmp_path: Path, dtype: torch.dtype
) -> None:
    saved = {"w": torch.ones(4).to(dtype)}
    save_file(saved, tmp_path / "model.safetensors")
    for weights in (FolderWeights(tmp_path), MemoryWeights(saved, "held")):
        with pytest.raises(UnsupportedTensor, match="w is torch"), weights.opened("w") as w:
            w(torch.empty(4), 0)
