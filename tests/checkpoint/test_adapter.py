"""PEFT folders as factored deltas, against PEFT's own arithmetic."""

import json
from pathlib import Path

import pytest
import torch
from checkpoints import Folders, llama_tensors, matrices, write_adapter
from safetensors.torch import load_file, save_file

from weightlens.checkpoint.adapter import Adapter
from weightlens.checkpoint.model import open_model
from weightlens.checkpoint.read import FolderWeights
from weightlens.delta import Dense
from weightlens.errors import AdapterMismatch, CheckpointError, UnsupportedTensor

NAME = "model.layers.0.self_attn.q_proj.weight"
KEY = "base_model.model.model.layers.0.self_attn.q_proj"


def configured(folders: Folders, **config: object) -> Adapter:
    file = folders.adapter / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | config))
    return Adapter(folders.adapter)


def test_names_are_those_of_the_base(folders: Folders) -> None:
    adapter = Adapter(folders.adapter)
    assert sorted(adapter.names) == sorted(matrices(llama_tensors(0)))
    adapter.check_fits(FolderWeights(folders.base))


@pytest.mark.parametrize(
    ("config", "scale"),
    [
        ({"r": 4, "lora_alpha": 8}, 2.0),
        ({"use_rslora": True, "lora_alpha": 8}, 4.0),  # 8 / sqrt(4)
        ({"alpha_pattern": {"q_proj": 2}}, 0.5),
        ({"alpha_pattern": {"k_proj": 2}}, 2.0),
        ({"alpha_pattern": {r"layers\.0\..*q_proj": 12}}, 3.0),
    ],
)
def test_scale_follows_the_configuration(
    folders: Folders, config: dict[str, object], scale: float
) -> None:
    assert configured(folders, **config).factored(NAME).scale == pytest.approx(scale)


def test_rank_is_read_from_the_factors(folders: Folders) -> None:
    """rank_pattern gives a module another rank; its scale is alpha over that rank."""
    tensors = load_file(folders.adapter / "adapter_model.safetensors")
    tensors[f"{KEY}.lora_A.weight"] = torch.ones(2, 24)
    tensors[f"{KEY}.lora_B.weight"] = torch.ones(24, 2)
    save_file(tensors, folders.adapter / "adapter_model.safetensors")
    factored = configured(folders, rank_pattern={"q_proj": 2}).factored(NAME)
    assert (factored.rank, factored.scale) == (2, 4.0)


def test_fan_in_fan_out_turns_the_delta(folders: Folders) -> None:
    plain = Adapter(folders.adapter).factored(NAME).dense()
    turned = configured(folders, fan_in_fan_out=True).factored(NAME).dense()
    assert torch.allclose(turned, plain.T, atol=1e-6)


def test_saved_modules_take_the_place_of_the_base(folders: Folders) -> None:
    tensors = load_file(folders.adapter / "adapter_model.safetensors")
    tensors["base_model.model.lm_head.weight"] = torch.full((32, 24), 0.25)
    save_file(tensors, folders.adapter / "adapter_model.safetensors")
    base = FolderWeights(folders.base)
    model = open_model(folders.adapter)
    model.check_against(base)
    assert torch.equal(model.tensor("lm_head.weight", base), torch.full((32, 24), 0.25))


def test_base_plus_adapter_is_base_with_the_delta(folders: Folders) -> None:
    base = FolderWeights(folders.base)
    model = open_model(folders.base, adapters=[folders.adapter], base=base)
    assert model.weights is base
    expected = base.read(NAME) + Adapter(folders.adapter).factored(NAME).dense()
    assert torch.equal(model.tensor(NAME, base), expected)


def test_an_adapter_of_another_model_is_refused(folders: Folders, tmp_path: Path) -> None:
    other = {name.replace("layers.1", "layers.7"): t for name, t in llama_tensors(0).items()}
    adapter = Adapter(write_adapter(tmp_path / "a", other, config={
        "base_model_name_or_path": "org/other"}))  # fmt: skip
    with pytest.raises(AdapterMismatch, match=r"layers\.7.*does not have.*org/other"):
        adapter.check_fits(FolderWeights(folders.base))


def test_an_adapter_of_another_shape_is_refused(folders: Folders) -> None:
    tensors = load_file(folders.adapter / "adapter_model.safetensors")
    tensors[f"{KEY}.lora_A.weight"] = torch.ones(4, 99)
    save_file(tensors, folders.adapter / "adapter_model.safetensors")
    with pytest.raises(AdapterMismatch, match=r"24 x 99, but it is 24 x 24"):
        Adapter(folders.adapter).check_fits(FolderWeights(folders.base))


def test_half_a_pair_of_factors_is_refused(folders: Folders) -> None:
    tensors = load_file(folders.adapter / "adapter_model.safetensors")
    del tensors[f"{KEY}.lora_B.weight"]
    save_file(tensors, folders.adapter / "adapter_model.safetensors")
    with pytest.raises(CheckpointError, match="lora_A but not its partner"):
        Adapter(folders.adapter)


def test_what_is_not_lora_is_refused(folders: Folders) -> None:
    with pytest.raises(UnsupportedTensor, match="IA3"):
        configured(folders, peft_type="IA3")


def test_dora_is_what_peft_makes_of_it(folders: Folders, tmp_path: Path) -> None:
    """Dense, row by row scaled; PEFT's merge_and_unload is the independent implementation."""
    from peft import LoraConfig, PeftModel, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    config = LoraConfig(r=3, lora_alpha=5, use_dora=True, target_modules=["q_proj", "up_proj"])
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(folders.base), config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name or "magnitude" in name:
                parameter += 0.1 * torch.randn_like(parameter)
    model.save_pretrained(str(tmp_path / "dora"))
    base = FolderWeights(folders.base)
    ours = open_model(tmp_path / "dora")
    ours.check_against(base)
    plain = AutoModelForCausalLM.from_pretrained(folders.base)
    theirs = PeftModel.from_pretrained(plain, tmp_path / "dora").merge_and_unload().state_dict()
    for name in base.infos:
        assert torch.allclose(ours.tensor(name, base), theirs[name], atol=1e-6), name
    assert isinstance(ours.delta(NAME, base, base.read(NAME)), Dense)


def test_an_adapter_without_weights_or_settings_is_refused(folders: Folders) -> None:
    (folders.adapter / "adapter_model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"adapter_model\.safetensors is missing"):
        Adapter(folders.adapter)
    (folders.adapter / "adapter_config.json").write_text("{}")
    with pytest.raises(CheckpointError, match="not an adapter configuration"):
        Adapter(folders.adapter)


def test_weights_that_peft_saves_below_an_adapter_take_the_place_of_the_base(
    folders: Folders,
) -> None:
    """LoRA on the embeddings: PEFT saves their base_layer too, and the factors go on top."""
    at = "base_model.model.model.embed_tokens"
    tensors = load_file(folders.adapter / "adapter_model.safetensors")
    weight, a, b = torch.ones(32, 24), torch.ones(2, 32), torch.full((24, 2), 0.5)
    tensors[f"{at}.base_layer.weight"] = weight
    tensors[f"{at}.lora_embedding_A"], tensors[f"{at}.lora_embedding_B"] = a, b
    save_file(tensors, folders.adapter / "adapter_model.safetensors")
    base = FolderWeights(folders.base)
    model = open_model(folders.adapter)
    model.check_against(base)
    expected = weight + (8 / 2) * (b @ a).T
    assert torch.allclose(model.tensor("model.embed_tokens.weight", base), expected)


def test_an_adapter_that_unties_the_head_is_refused(folders: Folders, tmp_path: Path) -> None:
    from checkpoints import write_model

    tied = {n: t for n, t in llama_tensors(0).items() if n != "lm_head.weight"}
    base = FolderWeights(write_model(tmp_path / "tied", tied))
    tensors = load_file(folders.adapter / "adapter_model.safetensors")
    tensors["base_model.model.model.embed_tokens.weight"] = torch.ones(32, 24)
    save_file(tensors, folders.adapter / "adapter_model.safetensors")
    with pytest.raises(AdapterMismatch, match="unties"):
        Adapter(folders.adapter).check_fits(base)


@pytest.mark.parametrize("start", ["pissa", "pissa_niter_4", "olora", "loftq"])
def test_initialisations_that_change_the_base_are_refused(folders: Folders, start: str) -> None:
    with pytest.raises(UnsupportedTensor, match=start):
        configured(folders, init_lora_weights=start)


@pytest.mark.parametrize(
    "config", ["[]", '{"r": 4}', '{"lora_alpha": 8, "alpha_pattern": {"(": 1}}']
)
def test_odd_settings_are_an_error_of_the_input(folders: Folders, config: str) -> None:
    (folders.adapter / "adapter_config.json").write_text(config)
    with pytest.raises(CheckpointError, match="not an adapter configuration"):
        Adapter(folders.adapter)
