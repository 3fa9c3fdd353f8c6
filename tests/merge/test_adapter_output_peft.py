"""Adapters that PEFT made and saved, merged to one that PEFT loads."""

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from checkpoints import Folders
from merged_adapters import (
    TASK_ARITHMETIC,
    config_of,
    dense,
    merged,
    merged_by_peft,
    on_base,
    trained_by_peft,
)
from safetensors.torch import load_file, save_file

from weightlens.checkpoint.adapter import Adapter
from weightlens.merge.engine import run_merge
from weightlens.merge.resolution import parse_recipe


def check_against_peft(base: Path, weights: Mapping[Path, float], out: Path) -> None:
    """Merges by task arithmetic; PEFT on the result against PEFT on every source."""
    models = "".join(f"- {{model: {p}, parameters: {{weight: {w}}}}}\n" for p, w in weights.items())
    text = f"merge_method: task_arithmetic\nbase_model: {base}\nmodels:\n{models}"
    run_merge(parse_recipe(f"output: adapter\n{text}"), out)
    from transformers import AutoModelForCausalLM

    expected = AutoModelForCausalLM.from_pretrained(base).state_dict()
    start = {name: tensor.clone() for name, tensor in expected.items()}
    for source, weight in weights.items():
        for name, tensor in merged_by_peft(base, source).items():
            expected[name] = expected[name] + weight * (tensor - start[name])
    found = merged_by_peft(base, out)
    assert set(found) == set(expected)
    for name, tensor in expected.items():
        assert torch.allclose(found[name], tensor, rtol=0, atol=3e-6), name
    assert any(not torch.equal(found[name], start[name]) for name in found)


def test_all_that_peft_makes_of_a_llama(folders: Folders, tmp_path: Path) -> None:
    """Embeddings by factors, rank and alpha patterns, rsLoRA; the head whole in the one source,
    by factors in the other; a norm whole."""
    one = trained_by_peft(
        folders.base, tmp_path / "one", 1, r=3, lora_alpha=5, use_rslora=True,
        target_modules=["q_proj", "embed_tokens", "down_proj"], modules_to_save=["lm_head"],
        rank_pattern={"layers.1.self_attn.q_proj": 2}, alpha_pattern={"down_proj": 9},
    )  # fmt: skip
    two = trained_by_peft(
        folders.base, tmp_path / "two", 2, r=2, lora_alpha=1,
        target_modules=["q_proj", "embed_tokens", "lm_head"], modules_to_save=["model.norm"],
    )  # fmt: skip
    check_against_peft(folders.base, {one: 0.5, two: -1.5}, tmp_path / "out")
    config = config_of(tmp_path / "out")
    assert config["modules_to_save"] == ["lm_head", "model.norm"]
    assert "model.embed_tokens" in config["target_modules"]


def test_embeddings_alone_are_an_adapter(folders: Folders, tmp_path: Path) -> None:
    one = trained_by_peft(
        folders.base, tmp_path / "one", 1, r=2, lora_alpha=1, target_modules=["embed_tokens"]
    )
    check_against_peft(folders.base, {one: 0.5}, tmp_path / "out")
    assert config_of(tmp_path / "out")["modules_to_save"] is None


def test_embeddings_that_were_changed_below_their_factors_are_whole(
    folders: Folders, tmp_path: Path
) -> None:
    """PEFT saves the table beside its factors; here it is not the base's."""
    settings = {"r": 2, "lora_alpha": 1, "target_modules": ["q_proj", "embed_tokens"]}
    one = trained_by_peft(folders.base, tmp_path / "one", 1, **settings)
    two = trained_by_peft(folders.base, tmp_path / "two", 2, **settings)
    file = two / "adapter_model.safetensors"
    key = "base_model.model.model.embed_tokens.base_layer.weight"
    tensors = load_file(file)
    save_file(tensors | {key: tensors[key] + 0.5}, file, metadata={"format": "pt"})
    check_against_peft(folders.base, {one: 0.5, two: 1.5}, tmp_path / "out")
    config = config_of(tmp_path / "out")
    assert config["modules_to_save"] == ["model.embed_tokens"]
    assert "model.embed_tokens" not in config["target_modules"]


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Conv1D matrices (inputs x outputs), biases everywhere, tied embeddings."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    model = GPT2LMHeadModel(
        GPT2Config(n_embd=16, n_layer=2, n_head=2, n_positions=8, vocab_size=20)
    )
    folder = tmp_path_factory.mktemp("gpt2")
    model.save_pretrained(folder)
    return folder


def test_all_that_peft_makes_of_a_gpt2(gpt2: Path, tmp_path: Path) -> None:
    """fan_in_fan_out, and trained biases: of layers with factors, and of norms without."""
    targets = {"target_modules": ["c_attn", "c_proj"], "fan_in_fan_out": True}
    one = trained_by_peft(gpt2, tmp_path / "one", 1, r=3, bias="all", **targets)
    two = trained_by_peft(gpt2, tmp_path / "two", 2, r=2, bias="lora_only", **targets)
    check_against_peft(gpt2, {one: 0.5, two: 1.0}, tmp_path / "out")
    config = config_of(tmp_path / "out")
    assert (config["fan_in_fan_out"], config["bias"]) == (True, "lora_only")
    assert "transformer.h.0.ln_1" in config["modules_to_save"]


@pytest.mark.parametrize("side", ["column", "row"])
def test_a_strip_knows_how_the_base_stores_its_matrices(
    gpt2: Path, tmp_path: Path, side: str
) -> None:
    adapter = trained_by_peft(gpt2, tmp_path / "a", 1, r=3, target_modules=["c_attn", "c_fc"],
                              fan_in_fan_out=True)  # fmt: skip
    text = (f"merge_method: strip\nbase_model: {{base}}\nparameters: {{{{side: {side}, target: 0, "
            "rank: 4}}\nmodels:\n- {{model: {a}, parameters: {{weight: 1}}}}\n")  # fmt: skip
    places = {"base": gpt2, "a": adapter}
    report = merged(text, places, tmp_path / "out")
    expected = dense(text, places, tmp_path / "dense")
    found = on_base(tmp_path / "out", gpt2)
    for name, tensor in expected.items():
        assert torch.allclose(found[name], tensor, rtol=0, atol=1e-6), name
    assert report.matrices[0].shape == (48, 16)  # outputs x inputs, as recorded everywhere


def test_a_bias_stands_beside_factors_that_cancel(gpt2: Path, tmp_path: Path) -> None:
    """An adapter, and the same one with a bias: the bias is left, in a layer of zeros."""
    plain = trained_by_peft(gpt2, tmp_path / "plain", 1, r=3, fan_in_fan_out=True,
                            target_modules=["c_attn", "c_fc"])  # fmt: skip
    biased = tmp_path / "biased"
    biased.mkdir()
    (biased / "adapter_config.json").write_text(
        (plain / "adapter_config.json").read_text().replace('"bias": "none"', '"bias": "lora_only"')
    )
    tensors = load_file(plain / "adapter_model.safetensors")
    tensors["base_model.model.transformer.h.0.attn.c_attn.base_layer.bias"] = torch.ones(48)
    for side in "AB":  # something must be left
        del tensors[f"base_model.model.transformer.h.1.mlp.c_fc.lora_{side}.weight"]
    save_file(tensors, biased / "adapter_model.safetensors", metadata={"format": "pt"})
    text = (
        TASK_ARITHMETIC + "models:\n"
        "- {{model: {plain}, parameters: {{weight: -1}}}}\n"
        "- {{model: {biased}, parameters: {{weight: 1}}}}\n"
    )
    places = {"base": gpt2, "plain": plain, "biased": biased}
    merged(text, places, tmp_path / "out")
    expected = dense(text, places, tmp_path / "dense")
    found = merged_by_peft(gpt2, tmp_path / "out")
    for name, tensor in expected.items():
        assert torch.allclose(found[name], tensor, rtol=0, atol=1e-6), name
    names = ("transformer.h.0.attn.c_attn.weight", "transformer.h.1.mlp.c_fc.weight")
    assert set(Adapter(tmp_path / "out").names) == set(names)
