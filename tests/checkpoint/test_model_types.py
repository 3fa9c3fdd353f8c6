"""Which matrices are stored as inputs x outputs, by what a config says."""

import pytest

from weightlens.checkpoint.orientation import transposed_names

NAMES = ("h.0.attn.c_attn.weight", "h.0.ln_1.weight", "h.0.mlp.experts.down_proj")


@pytest.mark.parametrize(
    ("config", "turned"),
    [
        ({"model_type": "gpt2"}, {NAMES[0]}),
        ({"model_type": "gpt_oss"}, {NAMES[2]}),
        ({"text_config": {"model_type": "llama4_text"}}, {NAMES[2]}),
        ({"model_type": "llama"}, set()),
        ({"model_type": ["gpt2"]}, set()),
        ({"model_type": {"gpt2": 1}}, set()),
        ({"text_config": {"model_type": []}}, set()),
        ({}, set()),
    ],
)
def test_the_model_type_tells(config: dict[str, object], turned: set[str]) -> None:
    assert transposed_names(config, NAMES) == turned
