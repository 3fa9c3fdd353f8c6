"""Shapes of known models, and checkpoints of random weights in them."""

import json
import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from safetensors.torch import save_file


@dataclass(frozen=True)
class Shape:
    """Of a decoder: hidden size, rows of keys and values, MLP size, layers, vocabulary."""

    hidden: int
    kv: int
    mlp: int
    layers: int
    vocabulary: int

    def matrices(self) -> dict[str, tuple[int, int]]:
        """One layer's matrices."""
        h, kv, f = self.hidden, self.kv, self.mlp
        return {
            "self_attn.q_proj": (h, h), "self_attn.k_proj": (kv, h), "self_attn.v_proj": (kv, h),
            "self_attn.o_proj": (h, h), "mlp.gate_proj": (f, h), "mlp.up_proj": (f, h),
            "mlp.down_proj": (h, f),
        }  # fmt: skip

    def tensors(self) -> dict[str, tuple[int, ...]]:
        """Every tensor of the checkpoint, with tied embeddings."""
        h, kv = self.hidden, self.kv
        found: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (self.vocabulary, h)}
        for layer in range(self.layers):
            place = f"model.layers.{layer}"
            for name, shape in self.matrices().items():
                found[f"{place}.{name}.weight"] = shape
            for name, rows in (("q", h), ("k", kv), ("v", kv)):
                found[f"{place}.self_attn.{name}_proj.bias"] = (rows,)
            for name in ("input_layernorm", "post_attention_layernorm"):
                found[f"{place}.{name}.weight"] = (h,)
        return found | {"model.norm.weight": (h,)}

    def config(self) -> dict[str, object]:
        """A config.json that transformers and mergekit understand."""
        return {
            "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2",
            "hidden_size": self.hidden, "intermediate_size": self.mlp,
            "num_hidden_layers": self.layers, "num_attention_heads": self.hidden // 64,
            "num_key_value_heads": self.kv // 64, "vocab_size": self.vocabulary,
            "tie_word_embeddings": True, "torch_dtype": "bfloat16",
            "max_position_embeddings": 32768, "rms_norm_eps": 1e-6, "hidden_act": "silu",
        }  # fmt: skip


MODELS = {
    "0.1b": Shape(512, 128, 2048, 12, 151_936),
    "qwen2.5-0.5b": Shape(896, 128, 4864, 24, 151_936),
    "3b": Shape(2048, 256, 11008, 36, 151_936),
    "qwen2.5-1.5b": Shape(1536, 256, 8960, 28, 151_936),
    "square-3072": Shape(3072, 3072, 3072, 1, 1024),
    "llama-3.1-8b": Shape(4096, 1024, 14336, 32, 128_256),
}


_POOL = (1 << 24) + 1
"""Normal numbers that are drawn; a larger tensor repeats them, at no period of its columns."""
SHARD = 2_000_000_000
"""Bytes of a file of a checkpoint."""


def write_checkpoint(folder: Path, shape: Shape, seed: int, like: int | None = None) -> int:
    """A bfloat16 checkpoint of normal weights in shards; returns its number of parameters.

    like: the seed of another one that this is a fine-tune of: its weights and normal deltas of a
    twentieth of their size.
    """
    folder.mkdir(parents=True)
    shards: list[dict[str, torch.Tensor]] = [{}]
    held = entries = 0
    for i, (name, size) in enumerate(shape.tensors().items()):
        tensor = _normal(size, (seed if like is None else like) * 100_000 + i) * 0.02
        if like is not None:
            tensor += _normal(size, seed * 100_000 + i) * 0.001
        tensor = tensor.bfloat16()
        if held and held + tensor.nbytes > SHARD:
            shards.append({})
            held = 0
        shards[-1][name] = tensor
        held, entries = held + tensor.nbytes, entries + tensor.numel()
    weight_map = {}
    for i, tensors in enumerate(shards, 1):
        file = f"model-{i:05}-of-{len(shards):05}.safetensors"
        save_file(tensors, folder / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(tensors, file)
    index = {"metadata": {"total_size": 2 * entries}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "config.json").write_text(json.dumps(shape.config()))
    return entries


def _normal(size: tuple[int, ...], seed: int) -> torch.Tensor:
    """Normal numbers out of the pool, from a place on that follows from the seed."""
    start = int(torch.randint(_POOL, (), generator=torch.Generator().manual_seed(seed)))
    entries = math.prod(size)
    pool = _pool()
    rounds = -(-(start + entries) // _POOL)
    return pool.repeat(rounds)[start : start + entries].view(size)


@cache
def _pool() -> torch.Tensor:
    return torch.randn(_POOL, generator=torch.Generator().manual_seed(0))
