"""Tiny checkpoints, made from fixed seeds."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

HIDDEN, MIDDLE, LAYERS, VOCABULARY = 24, 40, 2, 32


@dataclass(frozen=True)
class Folders:
    """A base, a full fine-tune and a LoRA adapter of it."""

    base: Path
    full: Path
    adapter: Path


def llama_tensors(seed: int, *, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """The tensors of a small Llama with grouped-query attention (k and v half as tall)."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return (torch.randn(*shape, generator=generator) * shape[-1] ** -0.5).to(dtype)

    tensors = {"model.embed_tokens.weight": normal(VOCABULARY, HIDDEN)}
    for i in range(LAYERS):
        at = f"model.layers.{i}"
        tensors |= {
            f"{at}.self_attn.q_proj.weight": normal(HIDDEN, HIDDEN),
            f"{at}.self_attn.k_proj.weight": normal(HIDDEN // 2, HIDDEN),
            f"{at}.self_attn.v_proj.weight": normal(HIDDEN // 2, HIDDEN),
            f"{at}.self_attn.o_proj.weight": normal(HIDDEN, HIDDEN),
            f"{at}.mlp.gate_proj.weight": normal(MIDDLE, HIDDEN),
            f"{at}.mlp.up_proj.weight": normal(MIDDLE, HIDDEN),
            f"{at}.mlp.down_proj.weight": normal(HIDDEN, MIDDLE),
            f"{at}.input_layernorm.weight": torch.ones(HIDDEN, dtype=dtype),
            f"{at}.post_attention_layernorm.weight": torch.ones(HIDDEN, dtype=dtype),
        }
    tensors["model.norm.weight"] = torch.ones(HIDDEN, dtype=dtype)
    tensors["lm_head.weight"] = normal(VOCABULARY, HIDDEN)
    return tensors


def matrices(tensors: Mapping[str, Tensor]) -> list[str]:
    """The names that overlap is measured on by default."""
    return [name for name, t in tensors.items() if t.ndim == 2 and "layers" in name]


def moved(base: Mapping[str, Tensor], seed: int, *, by: float = 0.05) -> dict[str, Tensor]:
    """The tensors after a random step of relative size `by`."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: (t.float() + by * t.float().std() * torch.randn(t.shape, generator=generator)).to(
            t.dtype
        )
        if t.ndim == 2
        else t.clone()
        for name, t in base.items()
    }


def write_model(folder: Path, tensors: Mapping[str, Tensor], *, shards: int = 1) -> Path:
    """Saves a checkpoint with a config that transformers loads, in one file or several."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": HIDDEN,
        "intermediate_size": MIDDLE,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": VOCABULARY,
        "tie_word_embeddings": "lm_head.weight" not in tensors,
        "dtype": "float32",
        "eos_token_id": 1,
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": 1}))
    if shards == 1:
        save_file(dict(tensors), folder / "model.safetensors", metadata={"format": "pt"})
        return folder
    names, weight_map = list(tensors), {}
    for i in range(shards):
        file = f"model-{i + 1:05d}-of-{shards:05d}.safetensors"
        part = {name: tensors[name] for name in names[i::shards]}
        save_file(part, folder / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(part, file)
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def pickle_model(folder: Path, *, shards: int = 1, name: str = "pytorch_model") -> Path:
    """Puts the weights of a folder into pickles, in the place of its safetensors."""
    tensors: dict[str, Tensor] = {}
    for file in sorted(folder.glob("*.safetensors")):
        tensors |= load_file(file)
        file.unlink()
    if shards == 1:
        torch.save(tensors, folder / f"{name}.bin")
        return folder
    names, weight_map = list(tensors), {}
    for i in range(shards):
        shard = f"{name}-{i + 1:05d}-of-{shards:05d}.bin"
        part = {n: tensors[n] for n in names[i::shards]}
        torch.save(part, folder / shard)
        weight_map |= dict.fromkeys(part, shard)
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / f"{name}.bin.index.json").write_text(json.dumps(index))
    return folder


def write_adapter(
    folder: Path,
    base: Mapping[str, Tensor],
    *,
    rank: int = 4,
    seed: int = 5,
    config: Mapping[str, object] | None = None,
) -> Path:
    """Saves a PEFT LoRA adapter on every matrix of the layers."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(seed)
    factors = {}
    for name in matrices(base):
        m, n = base[name].shape
        at = f"base_model.model.{name.removesuffix('.weight')}"
        factors[f"{at}.lora_A.weight"] = torch.randn(rank, n, generator=generator) * n**-0.5
        factors[f"{at}.lora_B.weight"] = torch.randn(m, rank, generator=generator) * 0.05
    save_file(factors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    settings = {"peft_type": "LORA", "r": rank, "lora_alpha": 2 * rank} | dict(config or {})
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    return folder


def tiny_llama(folder: Path) -> Folders:
    """All three as folders."""
    base = llama_tensors(0)
    return Folders(
        write_model(folder / "base", base),
        write_model(folder / "full", moved(base, 1)),
        write_adapter(folder / "adapter", base),
    )
