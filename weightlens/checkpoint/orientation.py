"""Which checkpoints store their matrices as inputs x outputs.

Everywhere else in weightlens rows are outputs, as in `nn.Linear.weight`. GPT-2 and its kin store
the weights of their `Conv1D` layers the other way round.
"""

import json
import re
from collections.abc import Iterable
from pathlib import Path

CONV1D_MODELS = frozenset({"gpt2", "openai-gpt", "imagegpt", "decision_transformer"})
"""model_type of the architectures in transformers that are built from Conv1D."""

_CONV1D = re.compile(r"\.(c_attn|c_proj|c_fc|q_attn)\.weight$")


def transposed_names(folder: Path, names: Iterable[str]) -> frozenset[str]:
    """The tensors of a checkpoint folder that are stored as inputs x outputs, by its config."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        model_type = config.get("model_type")
    except (OSError, ValueError, AttributeError):
        return frozenset()  # without a config nothing says that it is one of them
    if model_type not in CONV1D_MODELS:
        return frozenset()
    return frozenset(name for name in names if _CONV1D.search(name))
