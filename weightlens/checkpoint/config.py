"""What config.json says about a checkpoint: its architecture, and how its weights are quantised."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from weightlens.errors import CheckpointError

CONFIG_FILE = "config.json"

_QUANTISATION = ("quantization_config", "compression_config")
"""Keys under which it is described; the second in early compressed-tensors checkpoints."""

_DEPTH = ("num_hidden_layers", "n_layer", "num_layers", "n_layers")
"""What architectures call the number of layers."""

_NO_LAYERS = ("architectures", "eos_token_id", "bos_token_id", "pad_token_id")
"""Lists that have nothing to do with layers, however many entries they have."""

_NESTED = "text_config"
"""Where a multimodal model keeps the configuration of its language model."""


def read_config(folder: Path) -> dict[str, Any]:
    """The configuration of a checkpoint folder; empty where it has none.

    Raises CheckpointError where config.json is no JSON mapping.
    """
    file = folder / CONFIG_FILE
    if not file.is_file():
        return {}
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{file}: not valid JSON ({error})") from error
    if not isinstance(config, dict):
        raise CheckpointError(f"{file}: a config is a mapping")
    return config


def text_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part about the language model: `text_config` where there is one, else all of it."""
    nested = config.get(_NESTED)
    if not isinstance(nested, dict):
        return config
    return {"model_type": config.get("model_type")} | nested


def quantisation(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """How the weights are quantised, as the config describes it; empty where it does not."""
    for settings in (config, text_config(config)):
        for key in _QUANTISATION:
            if isinstance(described := settings.get(key), dict):
                return described
    return {}


def quantisation_method(config: Mapping[str, Any]) -> str | None:
    """Its name, such as `gptq`; None where the config speaks of no quantisation."""
    described = quantisation(config)
    if method := described.get("quant_method"):
        return str(method)
    if described.get("load_in_4bit") or described.get("load_in_8bit"):
        return "bitsandbytes"
    return "an unnamed method" if described else None


def block_size(config: Mapping[str, Any]) -> tuple[int, int] | None:
    """Rows and columns that share a scale (`weight_block_size`); None where it is not given."""
    match quantisation(config).get("weight_block_size"):
        case [int(rows), int(columns)] if rows > 0 and columns > 0:
            return rows, columns
    return None


def without_quantisation(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration of the same model in full precision."""
    plain = {key: value for key, value in config.items() if key not in _QUANTISATION}
    if isinstance(nested := plain.get(_NESTED), dict):
        plain[_NESTED] = {key: v for key, v in nested.items() if key not in _QUANTISATION}
    return plain


def stacked_layers(config: Mapping[str, Any], taken: Sequence[int]) -> dict[str, Any]:
    """What changes in the language model's configuration when it is made of these layers of its
    own, in this order: their number, and lists with one entry for each layer (`layer_types`)."""
    settings = text_config(config)
    changes: dict[str, Any] = {}
    if config and not any(isinstance(settings.get(key), int) for key in _DEPTH):
        # left at the default of its architecture; transformers knows this name in all of them
        return {_DEPTH[0]: len(taken)}
    for key in _DEPTH:
        depth = settings.get(key)
        if not isinstance(depth, int):
            continue
        changes[key] = len(taken)
        for name, value in settings.items():
            by_layer = isinstance(value, list) and len(value) == depth and name not in _NO_LAYERS
            if by_layer and max(taken) < depth:
                changes[name] = [value[layer] for layer in taken]
    return changes


def with_changes(config: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration with other values of the language model's keys, wherever those stand; a key
    that stood nowhere, and so had its default, is added to the language model's."""
    changed = dict(config)
    nested = changed.get(_NESTED)
    for key, value in changes.items():
        if isinstance(nested, dict) and (key in nested or key not in changed):
            nested = nested | {key: value}
        if key in changed or not isinstance(nested, dict):
            changed[key] = value
    if isinstance(nested, dict):
        changed[_NESTED] = nested
    return changed
