"""Rows of fused projections, against what the architectures in transformers do with them."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from weightlens.checkpoint.config import read_config
from weightlens.checkpoint.fused import fused_parts

WIDTH, HEADS = 16, 4
SIZES = {"vocab_size": 11, "hidden_size": WIDTH, "num_attention_heads": HEADS,
         "num_hidden_layers": 1, "intermediate_size": 24, "max_position_embeddings": 9}  # fmt: skip
FALCON = SIZES | {"alibi": False, "bias": False}
GPT = {"vocab_size": 11, "n_embd": WIDTH, "n_head": HEADS, "n_layer": 1, "n_positions": 32}
MOSAIC = {"vocab_size": 11, "d_model": WIDTH, "n_heads": HEADS, "n_layers": 1, "max_seq_len": 32}
DBRX = MOSAIC | {"attn_config": {"kv_n_heads": 2, "rope_theta": 1e4, "clip_qkv": 99.0},
                 "ffn_config": {"ffn_hidden_size": 8, "moe_num_experts": 2}}  # fmt: skip

REAL: dict[str, tuple[str, dict[str, Any]]] = {
    "GPT-2": ("gpt2", GPT),
    "GPT-NeoX": ("gpt_neox", SIZES),
    "GPT-NeoX Japanese": ("gpt_neox_japanese", SIZES | {"intermediate_multiple_size": 2}),
    "BLOOM": ("bloom", {"vocab_size": 11, "hidden_size": WIDTH, "n_head": HEADS, "n_layer": 1}),
    "Persimmon": ("persimmon", SIZES),
    "Falcon, by head": ("falcon", FALCON | {"multi_query": False}),
    "Falcon, one key": ("falcon", FALCON | {"multi_query": True}),
    "Falcon, new": ("falcon", FALCON | {"new_decoder_architecture": True, "num_kv_heads": 2}),
    "BigCode, by head": ("gpt_bigcode", GPT | {"multi_query": False}),
    "BigCode, one key": ("gpt_bigcode", GPT | {"multi_query": True}),
    "Phi-3": ("phi3", SIZES | {"num_key_value_heads": 2, "pad_token_id": 0}),
    "MPT": ("mpt", MOSAIC),
    "CodeGen": ("codegen", GPT | {"n_ctx": 32, "rotary_dim": 4}),
    "DBRX": ("dbrx", DBRX),
}  # fmt: skip


class Fused:
    """A model of one layer; its fused weight as outputs x inputs, and what comes of it."""

    def __init__(self, architecture: str, settings: dict[str, Any], folder: Path) -> None:
        from transformers import AutoConfig, AutoModel

        torch.manual_seed(0)
        config = AutoConfig.for_model(architecture, **settings)
        config.save_pretrained(folder)
        self.config = read_config(folder)
        self.model = AutoModel.from_config(config, attn_implementation="eager").eval()
        names = ("c_attn", "query_key_value", "qkv_proj", "Wqkv")
        (self.name,) = (n for n, _ in self.model.named_modules() if n.endswith(names))
        self.module = self.model.get_submodule(self.name)
        for name, parameter in self.model.named_parameters():
            if name.endswith("bias"):
                torch.nn.init.zeros_(parameter)
            elif name.startswith(self.name):  # large enough for attention to be far from uniform
                torch.nn.init.normal_(parameter)
        self.turned = architecture == "gpt2"
        self.weight = self.turn(self.module.weight.detach()).clone()
        parts = fused_parts(f"{self.name}.weight", len(self.weight), self.config)
        assert parts is not None
        self.parts = parts

    def turn(self, weight: Tensor) -> Tensor:
        return weight.T if self.turned else weight

    def without(self, *parts: str) -> tuple[Tensor, Tensor, Tensor]:
        """Keys and values in the cache, and the output, when the rows of some parts are zero."""
        weight = self.weight.clone()
        for part in parts:
            weight[self.parts[part]] = 0
        self.module.weight.data = self.turn(weight).contiguous()
        tokens = torch.tensor([[3, 1, 4, 1, 5]])
        with torch.no_grad():
            out = self.model(input_ids=tokens, use_cache=True)
        layer = out.past_key_values.layers[0]
        return layer.keys, layer.values, out.last_hidden_state


@pytest.fixture(scope="module", params=REAL, ids=list(REAL))
def fused(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Fused:
    architecture, settings = REAL[request.param]
    return Fused(architecture, settings, tmp_path_factory.mktemp("config"))


def test_the_keys_that_a_model_caches_come_of_the_key_rows_alone(fused: Fused) -> None:
    keys, values, _ = fused.without()
    zero, same, _ = fused.without("key")
    assert keys.any()
    assert not zero.any()
    assert torch.equal(same, values)
    assert torch.equal(fused.without("query", "value")[0], keys)


def test_the_values_that_a_model_caches_come_of_the_value_rows_alone(fused: Fused) -> None:
    keys, values, _ = fused.without()
    same, zero, _ = fused.without("value")
    assert values.any()
    assert not zero.any()
    assert torch.equal(same, keys)
    assert torch.equal(fused.without("query", "key")[1], values)


def test_without_queries_attention_is_what_it_is_without_keys(fused: Fused) -> None:
    """Scores are products of the two: zero when either is, all of it."""
    _, _, without_queries = fused.without("query")
    _, _, without_keys = fused.without("key")
    assert torch.equal(without_queries, without_keys)
    assert not torch.allclose(without_queries, fused.without()[2], atol=1e-4)


def test_parts_share_out_the_rows(fused: Fused) -> None:
    rows = torch.cat(list(fused.parts.values()))
    assert torch.equal(rows.sort().values, torch.arange(len(fused.weight)))
    assert list(fused.parts) in (["query", "key", "value"], ["query", "value", "key"])


@pytest.mark.parametrize("architecture", ["phi3", "glm", "glm4"])
def test_gate_passes_through_the_activation_and_up_does_not(architecture: str) -> None:
    """silu(gate x) · up x is linear in up: doubling its rows doubles the output."""
    from transformers import AutoConfig, AutoModel

    config = AutoConfig.for_model(architecture, **SIZES, pad_token_id=0)
    torch.manual_seed(0)
    mlp = AutoModel.from_config(config).layers[0].mlp
    parts = fused_parts("layers.0.mlp.gate_up_proj.weight", 48, config.to_dict())
    assert parts is not None
    x = torch.randn(3, WIDTH)
    before, weight = mlp(x), mlp.gate_up_proj.weight.detach().clone()
    for part, is_linear in {"gate": False, "up": True}.items():
        mlp.gate_up_proj.weight.data = weight.clone()
        mlp.gate_up_proj.weight.data[parts[part]] *= 2
        assert torch.allclose(mlp(x), 2 * before, rtol=1e-5, atol=1e-9) == is_linear


def only(name: str, rows: int, **config: object) -> dict[str, list[int]] | None:
    parts = fused_parts(name, rows, config)
    return None if parts is None else {part: r.tolist() for part, r in parts.items()}


def test_internlm2_keeps_each_key_head_with_its_queries() -> None:
    """Four heads of size 1 on two keys: q q k v, q q k v."""
    sizes = {"hidden_size": 4, "num_attention_heads": 4, "num_key_value_heads": 2}
    assert only("model.layers.0.attention.wqkv.weight", 8, model_type="internlm2", **sizes) == {
        "query": [0, 1, 4, 5], "key": [2, 6], "value": [3, 7]
    }  # fmt: skip


def test_baichuan_packs_thirds() -> None:
    name = "model.layers.0.self_attn.W_pack.weight"
    assert only(name, 6, model_type="baichuan", hidden_size=2) == {
        "query": [0, 1], "key": [2, 3], "value": [4, 5]
    }  # fmt: skip


def test_chatglm_keeps_queries_before_the_keys_of_its_groups() -> None:
    """Three heads of size 2 (kv_channels, whatever the width), keys and values for one group; the
    first ChatGLM has no groups and goes by head."""
    name = "transformer.encoder.layers.0.self_attention.query_key_value.weight"
    sizes = {"model_type": "chatglm", "hidden_size": 12, "num_attention_heads": 3}
    groups = {"multi_query_attention": True, "multi_query_group_num": 1, "kv_channels": 2}
    assert only(name, 10, **sizes, **groups) == {
        "query": [0, 1, 2, 3, 4, 5], "key": [6, 7], "value": [8, 9]
    }  # fmt: skip
    first = only(name, 36, **sizes)
    assert first is not None
    assert first["query"] == [0, 1, 2, 3, 12, 13, 14, 15, 24, 25, 26, 27]
    gated = "transformer.encoder.layers.0.mlp.dense_h_to_4h.weight"
    assert only(gated, 4, **sizes, ffn_hidden_size=2) == {"gate": [0, 1], "up": [2, 3]}
    assert only(gated, 4, **sizes) is None


def test_mosaic_models_may_share_keys() -> None:
    sizes = {"model_type": "mpt", "d_model": 4, "n_heads": 2}
    shared = {"attn_type": "grouped_query_attention", "kv_n_heads": 1}
    parts = only("transformer.blocks.0.attn.Wqkv.weight", 8, **sizes, attn_config=shared)
    assert parts == {"query": [0, 1, 2, 3], "key": [4, 5], "value": [6, 7]}
    one = {"attn_type": "multiquery_attention"}
    assert only("transformer.blocks.0.attn.Wqkv.weight", 8, **sizes, attn_config=one) == parts


def test_the_language_model_of_a_multimodal_one_has_its_own_config() -> None:
    text = {"model_type": "glm4v_text", "intermediate_size": 1}
    name = "model.language_model.layers.0.mlp.gate_up_proj.weight"
    assert only(name, 2, model_type="glm4v", text_config=text) == {"gate": [0], "up": [1]}
    nameless = {"hidden_size": 1}
    assert only("W_pack.weight", 3, model_type="baichuan", text_config=nameless) is not None


GPT2_NAME = "transformer.h.0.attn.c_attn.weight"


@pytest.mark.parametrize(
    ("name", "rows", "config"),
    [
        (GPT2_NAME, 6, {}),
        (GPT2_NAME, 6, {"model_type": "gpt2"}),
        (GPT2_NAME, 6, {"model_type": "gpt2", "n_embd": None}),
        (GPT2_NAME, 6, {"model_type": "gpt2", "n_embd": "2"}),
        (GPT2_NAME, 5, {"model_type": "gpt2", "n_embd": 2}),
        (GPT2_NAME, 6, {"model_type": "llama", "n_embd": 2}),
        ("transformer.h.0.crossattention.c_attn.weight", 4, {"model_type": "gpt2", "n_embd": 2}),
        ("transformer.h.0.attn.c_attn.bias", 6, {"model_type": "gpt2", "n_embd": 2}),
        ("transformer.h.0.attn.c_proj.weight", 6, {"model_type": "gpt2", "n_embd": 2}),
        ("transformer.h.0.attn.abc_attn.weight", 6, {"model_type": "gpt2", "n_embd": 2}),
        # five heads on two keys: no whole number of queries goes with each
        ("wqkv.weight", 9, {"model_type": "internlm2", "hidden_size": 5,
                            "num_attention_heads": 5, "num_key_value_heads": 2}),
        ("query_key_value.weight", 9, {"model_type": "bloom", "hidden_size": 3}),
    ],
)  # fmt: skip
def test_what_is_not_fused_or_not_known_has_no_parts(
    name: str, rows: int, config: dict[str, object]
) -> None:
    assert fused_parts(name, rows, config) is None


def test_rows_are_counted_from_the_config_of_real_models() -> None:
    """Falcon-40B: 128 heads of 64 on 8 keys, (16 + 2) · 8 · 64 rows; Phi-3-mini: 3 · 3072."""
    falcon = {"model_type": "falcon", "hidden_size": 8192, "num_attention_heads": 128,
              "num_kv_heads": 8, "new_decoder_architecture": True}  # fmt: skip
    parts = fused_parts("transformer.h.0.self_attention.query_key_value.weight", 9216, falcon)
    assert parts is not None
    assert {k: len(v) for k, v in parts.items()} == {"query": 8192, "key": 512, "value": 512}
    assert parts["key"][0] == 16 * 64
    phi3 = {"model_type": "phi3", "hidden_size": 3072, "num_attention_heads": 32,
            "num_key_value_heads": 32}  # fmt: skip
    parts = fused_parts("model.layers.0.self_attn.qkv_proj.weight", 9216, phi3)
    assert parts is not None
    assert parts["value"].tolist() == list(range(6144, 9216))
