"""Which checkpoints store their matrices as inputs x outputs.

Everywhere else in weightlens rows are outputs, as in `nn.Linear.weight`. GPT-2 and its kin store
the weights of their `Conv1D` layers the other way round.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

CONV1D_MODELS = frozenset({"gpt2", "openai-gpt", "imagegpt", "decision_transformer"})
"""model_type of the architectures in transformers that are built from Conv1D."""

_CONV1D = re.compile(r"\.(c_attn|c_proj|c_fc|q_attn)\.weight$")


def transposed_names(config: Mapping[str, Any], names: Iterable[str]) -> frozenset[str]:
    """The tensors of a checkpoint that are stored as inputs x outputs, by its config."""
    if config.get("model_type") not in CONV1D_MODELS:
        return frozenset()
    return frozenset(name for name in names if _CONV1D.search(name))
