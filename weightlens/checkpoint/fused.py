"""Which rows of a fused projection are which of its parts, by the checkpoint's config.

Many architectures keep query, key and value of attention in one matrix, and gate and up of a gated
MLP in another. Every layout here is one pattern: the rows fall into equal runs, and each run holds
a stretch of every part, in a fixed order.

    in turn     one run: all queries, all keys, all values        GPT-2, Phi-3, MPT, Baichuan
    by head     one run a head: its query, key, value             GPT-NeoX, BLOOM, Persimmon
    by group    one run a key head: its queries, its key, value   Falcon (new), InternLM2
    by core     four runs: queries, values, keys                  CodeGen

Rows are outputs: a matrix of GPT-2's Conv1D has been turned before.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor

from weightlens.checkpoint.config import text_config

Config = Mapping[str, Any]


@dataclass(frozen=True)
class Layout:
    """Rows in `runs` equal runs; stretches: (part, rows of it in each run), in order."""

    runs: int
    stretches: tuple[tuple[str, int], ...]

    @property
    def rows(self) -> int:
        """Rows of the whole projection."""
        return self.runs * sum(size for _, size in self.stretches)

    def parts(self) -> dict[str, Int64[Tensor, "_rows"]]:
        """The rows of each part, ascending."""
        sizes = [size for _, size in self.stretches]
        cuts = torch.arange(self.rows).reshape(self.runs, -1).split(sizes, dim=1)
        return {part: cut.flatten() for (part, _), cut in zip(self.stretches, cuts, strict=True)}


def fused_parts(
    name: str, rows: int, config: Mapping[str, Any]
) -> dict[str, Int64[Tensor, "_rows"]] | None:
    """The rows of a fused weight by part: `query`, `key`, `value`, or `gate`, `up`.

    rows: of the tensor, outputs x inputs. None where the tensor is not fused, where the
    architecture is not known, or where its config does not account for this number of rows.
    """
    config = text_config(config)
    layouts = _LAYOUTS.get(str(config.get("model_type")), {})
    layout_of = next(
        (f for end, f in layouts.items() if f".{name}".endswith(f".{end}.weight")), None
    )
    if layout_of is None:
        return None
    try:
        layout = layout_of(config)
    except KeyError:
        return None
    return layout.parts() if layout.rows == rows else None


def _number(config: Config, *keys: str) -> int:
    """The first of these that is a positive integer; KeyError where none is."""
    for key in keys:
        value = config.get(key)
        if isinstance(value, int) and value > 0 and value is not True:
            return value
    raise KeyError(*keys)


def _either(config: Config, key: str, otherwise: int) -> int:
    """A number that a config may leave out or set to null."""
    try:
        return _number(config, key)
    except KeyError:
        return otherwise


def _width(config: Config) -> int:
    return _number(config, "hidden_size", "n_embd", "d_model", "n_embed")


def _heads(config: Config) -> int:
    return _number(config, "num_attention_heads", "n_head", "n_heads")


def _head_size(config: Config, key: str = "head_dim") -> int:
    return _either(config, key, _width(config) // _heads(config))


def _in_turn(query: int, key: int) -> Layout:
    return Layout(1, (("query", query), ("key", key), ("value", key)))


def _grouped(heads: int, key_heads: int, size: int) -> Layout:
    """One run a key head: its queries, its key, its value; by head where each has a key."""
    return Layout(key_heads, (("query", heads // key_heads * size), ("key", size), ("value", size)))


def _thirds(config: Config) -> Layout:
    return _in_turn(_width(config), _width(config))


def _by_head(config: Config) -> Layout:
    return _grouped(_heads(config), _heads(config), _head_size(config))


def _by_group(config: Config) -> Layout:
    heads = _heads(config)
    return _grouped(heads, _either(config, "num_key_value_heads", heads), _head_size(config))


def _by_core(config: Config) -> Layout:
    cores = 4  # of the TPU that CodeGen was trained on; the layout has kept them
    share = _width(config) // cores
    return Layout(cores, (("query", share), ("value", share), ("key", share)))


def _phi3(config: Config) -> Layout:
    heads, size = _heads(config), _head_size(config)
    return _in_turn(heads * size, _either(config, "num_key_value_heads", heads) * size)


def _falcon(config: Config) -> Layout:
    heads, size = _heads(config), _head_size(config)
    if config.get("new_decoder_architecture"):
        return _grouped(heads, _either(config, "num_kv_heads", heads), size)
    return _one_key_or_by_head(config)


def _one_key_or_by_head(config: Config) -> Layout:
    if config.get("multi_query", True):  # transformers' default, for Falcon and BigCode alike
        return _in_turn(_heads(config) * _head_size(config), _head_size(config))
    return _by_head(config)


def _mosaic(config: Config) -> Layout:
    attention = config.get("attn_config")
    attention = attention if isinstance(attention, dict) else {}
    one_key = attention.get("attn_type") == "multiquery_attention"
    key_heads = 1 if one_key else _either(attention, "kv_n_heads", _heads(config))
    return _in_turn(_width(config), key_heads * _head_size(config))


def _chatglm(config: Config) -> Layout:
    heads, size = _heads(config), _head_size(config, "kv_channels")
    if config.get("multi_query_attention"):
        return _in_turn(heads * size, _number(config, "multi_query_group_num") * size)
    return _grouped(heads, heads, size)


def _gate_up(config: Config) -> Layout:
    width = _number(config, "intermediate_size", "ffn_hidden_size")
    return Layout(1, (("gate", width), ("up", width)))


_PHI3 = {"qkv_proj": _phi3, "mlp.gate_up_proj": _gate_up}
_GLM = {"mlp.gate_up_proj": _gate_up}

_LAYOUTS: dict[str, Mapping[str, Callable[[Config], Layout]]] = {
    "baichuan": {"W_pack": _thirds},
    "bloom": {"query_key_value": _by_head},
    "chatglm": {"query_key_value": _chatglm, "mlp.dense_h_to_4h": _gate_up},
    "codegen": {"qkv_proj": _by_core},
    "dbrx": {"Wqkv": _mosaic},
    "decision_transformer": {"c_attn": _thirds},
    "falcon": {"query_key_value": _falcon},
    "glm": _GLM,
    "glm4": _GLM,
    "glm4v_text": _GLM,
    "glm_ocr_text": _GLM,
    "gpt2": {"c_attn": _thirds},
    "gpt_bigcode": {"c_attn": _one_key_or_by_head},
    "gpt_neox": {"query_key_value": _by_head},
    "gpt_neox_japanese": {"query_key_value": _by_head},
    "imagegpt": {"c_attn": _thirds},
    "internlm2": {"wqkv": _by_group},
    "mpt": {"Wqkv": _mosaic},
    "openai-gpt": {"c_attn": _thirds},
    "persimmon": {"query_key_value": _by_head},
    "phi3": _PHI3,
    "phi4_multimodal": _PHI3,
}
"""How the rows lie, by model_type and by the end of the module's name."""
