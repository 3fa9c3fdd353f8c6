"""Which checkpoints store their matrices as inputs x outputs.

Everywhere else in weightlens rows are outputs, as in `nn.Linear.weight`. GPT-2 and its kin store
the weights of their `Conv1D` layers the other way round, and some models their stacks of experts.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from weightlens.checkpoint.config import text_config

CONV1D_MODELS = frozenset({"gpt2", "openai-gpt", "imagegpt", "decision_transformer"})
"""model_type of the architectures in transformers that are built from Conv1D."""

_CONV1D = re.compile(r"\.(c_attn|c_proj|c_fc|q_attn)\.weight$")


EXPERT_MODELS = frozenset({"llama4", "llama4_text", "gpt_oss", "aria", "aria_text"})
"""model_type of those whose stacks are experts x inputs x outputs."""

_EXPERTS = re.compile(r"\.experts\.(gate_up_proj|down_proj|fc1\.weight|fc2\.weight)$")


def transposed_names(config: Mapping[str, Any], names: Iterable[str]) -> frozenset[str]:
    """The tensors of a checkpoint that are stored as inputs x outputs, by its config."""
    model_type = str(text_config(config).get("model_type"))
    pattern = _CONV1D if model_type in CONV1D_MODELS else _EXPERTS
    if model_type not in CONV1D_MODELS | EXPERT_MODELS:
        return frozenset()
    return frozenset(name for name in names if pattern.search(name))
