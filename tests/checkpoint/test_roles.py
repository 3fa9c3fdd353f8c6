"""Which tensors are tables and output layers, over the architectures that weightlens knows of.

By hand as their checkpoints on the Hub name them, and against transformers' own models.
"""

import re
from typing import Any

import pytest
import torch
from torch import nn

from weightlens.checkpoint import fused, orientation
from weightlens.checkpoint.adapter_names import is_embedding
from weightlens.checkpoint.layout import TensorInfo
from weightlens.checkpoint.names import has_row_for_each_token, is_head, role_of
from weightlens.checkpoint.selection import Selection

LLAMA = {
    "model.embed_tokens.weight": "tokens",
    "model.layers.0.self_attn.q_proj.weight": None,
    "model.layers.0.self_attn.o_proj.weight": None,
    "model.layers.0.mlp.down_proj.weight": None,
    "lm_head.weight": "output",
}
GPT2 = {
    "transformer.wte.weight": "tokens",
    "transformer.wpe.weight": "table",
    "transformer.h.0.attn.c_attn.weight": None,
    "transformer.h.0.mlp.c_proj.weight": None,
    "lm_head.weight": "output",
}
NEOX = {
    "gpt_neox.embed_in.weight": "tokens",
    "gpt_neox.layers.0.attention.query_key_value.weight": None,
    "gpt_neox.layers.0.attention.dense.weight": None,
    "embed_out.weight": "output",
}
BLOOM = {
    "transformer.word_embeddings.weight": "tokens",
    "transformer.h.0.self_attention.query_key_value.weight": None,
    "transformer.h.0.self_attention.dense.weight": None,
    "lm_head.weight": "output",
}
MOSAIC = {
    "transformer.wte.weight": "tokens",
    "transformer.blocks.0.attn.Wqkv.weight": None,
    "transformer.blocks.0.ffn.down_proj.weight": None,
    "lm_head.weight": "output",
}
CODEGEN = {
    "transformer.wte.weight": "tokens",
    "transformer.h.0.attn.qkv_proj.weight": None,
    "transformer.h.0.mlp.fc_out.weight": None,
    "lm_head.weight": "output",
    "lm_head.bias": "output",
}
GLM_SEEING = {
    "model.language_model.embed_tokens.weight": "tokens",
    "model.language_model.layers.0.mlp.gate_up_proj.weight": None,
    "model.visual.embeddings.position_embedding.weight": "table",
    "model.visual.blocks.0.attn.qkv.weight": None,
    "lm_head.weight": "output",
}
LLAMA_4 = {
    "language_model.model.embed_tokens.weight": "tokens",
    "language_model.model.layers.0.feed_forward.experts.gate_up_proj": None,
    "language_model.model.layers.0.feed_forward.shared_expert.down_proj.weight": None,
    "language_model.lm_head.weight": "output",
}
ARIA = {
    "language_model.model.embed_tokens.weight": "tokens",
    "language_model.model.layers.0.mlp.experts.fc1.weight": None,
    "language_model.model.layers.0.mlp.shared_experts.up_proj.weight": None,
    "vision_tower.vision_model.embeddings.position_embedding.weight": "table",
    "language_model.lm_head.weight": "output",
}

ROLES: dict[str, dict[str, str | None]] = {
    **dict.fromkeys(["llama", "qwen2", "qwen3", "mistral", "gemma", "gemma2", "phi", "baichuan",
                     "persimmon", "phi3", "phi4_multimodal", "glm", "glm4", "gpt_oss",
                     "llama4_text", "aria_text"], LLAMA),
    **dict.fromkeys(["gpt2", "gpt_bigcode"], GPT2),
    **dict.fromkeys(["gpt_neox", "gpt_neox_japanese"], NEOX),
    **dict.fromkeys(["bloom", "falcon"], BLOOM),
    **dict.fromkeys(["mpt", "dbrx"], MOSAIC),
    **dict.fromkeys(["glm4v_text", "glm_ocr_text"], GLM_SEEING),
    "codegen": CODEGEN,
    "llama4": LLAMA_4,
    "aria": ARIA,
    "imagegpt": {
        "transformer.wte.weight": "tokens",
        "transformer.wpe.weight": "table",
        "transformer.h.0.attn.c_proj.weight": None,
        "lm_head.weight": "output",
    },
    "openai-gpt": {
        "tokens_embed.weight": "tokens",
        "positions_embed.weight": "table",
        "h.0.attn.c_attn.weight": None,
    },
    "decision_transformer": {
        "encoder.wte.weight": "tokens",
        "encoder.wpe.weight": "table",
        "encoder.h.0.mlp.c_fc.weight": None,
        "embed_timestep.weight": "table",
        "embed_state.weight": None,  # a linear layer
        "predict_action.0.weight": None,
    },
    "opt": {
        "model.decoder.embed_tokens.weight": "tokens",
        "model.decoder.embed_positions.weight": "table",
        "model.decoder.project_out.weight": None,
        "model.decoder.layers.0.self_attn.out_proj.weight": None,
        "lm_head.weight": "output",
    },
    "internlm2": {
        "model.tok_embeddings.weight": "tokens",
        "model.layers.0.attention.wqkv.weight": None,
        "model.layers.0.attention.wo.weight": None,
        "output.weight": "output",
    },
    "InternVL": {
        "language_model.model.tok_embeddings.weight": "tokens",
        "language_model.output.weight": "output",
        "vision_model.embeddings.position_embedding": "table",
    },
    "chatglm": {
        "transformer.embedding.word_embeddings.weight": "tokens",
        "transformer.encoder.layers.0.self_attention.query_key_value.weight": None,
        "transformer.encoder.layers.0.mlp.dense_4h_to_h.weight": None,
        "transformer.output_layer.weight": "output",
    },
    "gemma3n": {
        "model.language_model.embed_tokens.weight": "tokens",
        "model.language_model.embed_tokens_per_layer.weight": "table",
        "model.language_model.per_layer_model_projection.weight": None,
        "model.language_model.layers.0.per_layer_input_gate.weight": None,
    },
    "deepseek_v3": {
        **LLAMA,
        "model.layers.61.embed_tokens.weight": "tokens",
        "model.layers.61.eh_proj.weight": None,
        "model.layers.61.shared_head.head.weight": "output",
    },
    "t5": {
        "shared.weight": "tokens",
        "encoder.embed_tokens.weight": "tokens",
        "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight": "table",
        "encoder.block.0.layer.0.SelfAttention.o.weight": None,
        "lm_head.weight": "output",
    },
    "t5gemma": {
        "model.decoder.embed_tokens.weight": "tokens",
        "lm_head.out_proj.weight": "output",
    },
    "bert": {
        "bert.embeddings.word_embeddings.weight": "tokens",
        "bert.embeddings.position_embeddings.weight": "table",
        "bert.embeddings.token_type_embeddings.weight": "table",
        "bert.encoder.layer.0.attention.self.distance_embedding.weight": "table",
        "bert.encoder.layer.0.attention.output.dense.weight": None,
        "bert.encoder.layer.0.output.dense.weight": None,
        "cls.predictions.transform.dense.weight": None,
        "cls.predictions.decoder.weight": "output",
        "cls.predictions.bias": "output",
    },
    "roberta": {
        "roberta.embeddings.word_embeddings.weight": "tokens",
        "roberta.embeddings.position_embeddings.weight": "table",
        "lm_head.dense.weight": "beside",
        "lm_head.decoder.weight": "output",
    },
    "mamba": {
        "backbone.embeddings.weight": "tokens",
        "backbone.layers.0.mixer.out_proj.weight": None,
        "lm_head.weight": "output",
    },
    "others": {
        "model.layers.0.self_attn.output.weight": None,
        "rwkv.blocks.0.attention.output.weight": None,
        "model.layers.0.mlp.output.weight": None,
        "model.layers.0.mlp.output_layer.weight": None,
        "model.layers.0.mlp.shared.weight": None,
        "model.layers.0.mlp.shared.gate_proj.weight": None,
        "encoder.attention.output.weight": None,
        "model.norm.weight": None,
    },
}  # fmt: skip
CASES = [(kind, name, role) for kind, roles in ROLES.items() for name, role in roles.items()]


@pytest.mark.parametrize(("kind", "name", "role"), CASES)
def test_a_tensor_has_its_role_for_everyone_who_asks(
    kind: str, name: str, role: str | None
) -> None:
    assert role_of(name) == role
    matrix = TensorInfo((64, 32), torch.float32)
    if not name.endswith(".bias") and "norm" not in name:
        expected = None if role is None else "embedding"
        assert Selection().reason_to_skip(name, matrix) == expected
    is_weight = name.endswith(".weight")
    assert is_embedding(name) == (is_weight and role in ("tokens", "table"))
    assert is_head(name) == (is_weight and role == "output")
    assert has_row_for_each_token(name) == (role in ("tokens", "output"))


def test_every_architecture_that_is_known_by_its_layout_has_a_row_above() -> None:
    known = {*fused._LAYOUTS, *orientation.CONV1D_MODELS, *orientation.EXPERT_MODELS}
    assert known <= set(ROLES)


SIZES = {"vocab_size": 24, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
         "intermediate_size": 32, "max_position_embeddings": 16}  # fmt: skip
GPT = {"vocab_size": 24, "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 16}
SEQUENCES = {"vocab_size": 24, "d_model": 16, "num_layers": 1, "num_heads": 2, "d_kv": 8,
             "d_ff": 32}  # fmt: skip
BUILT: dict[str, tuple[str, dict[str, Any]]] = {
    **dict.fromkeys(["llama", "qwen2", "mistral", "gemma", "phi", "gpt_neox", "gpt_neox_japanese",
                     "bloom", "falcon", "persimmon", "mamba"], ("CausalLM", SIZES)),
    **dict.fromkeys(["gpt2", "openai-gpt", "gpt_bigcode"], ("CausalLM", GPT)),
    **dict.fromkeys(["phi3", "glm", "glm4"],
                    ("CausalLM", SIZES | {"pad_token_id": 0, "num_key_value_heads": 1})),
    "codegen": ("CausalLM", GPT | {"rotary_dim": 4}),
    "opt": ("CausalLM", SIZES | {"ffn_dim": 32, "word_embed_proj_dim": 8}),
    "mpt": ("CausalLM", {"vocab_size": 24, "d_model": 16, "n_layers": 1, "n_heads": 2}),
    **dict.fromkeys(["bert", "roberta", "albert", "electra"], ("MaskedLM", SIZES)),
    **dict.fromkeys(["t5", "umt5"], ("Seq2SeqLM", SEQUENCES)),
}  # fmt: skip


@pytest.mark.parametrize("architecture", BUILT)
def test_tables_are_what_transformers_builds_as_such(architecture: str) -> None:
    """Tables are nn.Embedding, one of tokens is what the model calls its input's, the output is
    what it calls that; layers hold neither, but for relative positions."""
    import transformers

    task, settings = BUILT[architecture]
    config = transformers.AutoConfig.for_model(architecture, **settings)
    with torch.device("meta"):
        model = getattr(transformers, f"AutoModelFor{task}").from_config(config)
    words, head = model.get_input_embeddings(), model.get_output_embeddings()
    found = {"tokens": 0, "output": 0}
    for path, module in model.named_modules():
        if not isinstance(getattr(module, "weight", None), nn.Parameter) or module.weight.ndim != 2:
            continue
        role = role_of(f"{path}.weight")
        assert (role in ("tokens", "table")) == isinstance(module, nn.Embedding), path
        assert (role == "output") == (module is head), path
        assert role == "tokens" if module is words else True, path
        if re.search(r"\.\d+\.", path) and "relative" not in path:
            assert role is None, path
        if role in found:
            found[role] += 1
    assert min(found.values()) > 0
