"""What of an adapter's configuration decides its deltas, as bytes to hash.

The same for a file that was laid out anew, that spells out what is the default, or that names
another base: a model card's tool or another version of PEFT writes such.
"""

import json
from pathlib import Path
from typing import Any

from weightlens.checkpoint.weight_files import ADAPTER_CONFIG

_DECIDES = (
    "peft_type", "r", "rank_pattern", "lora_alpha", "alpha_pattern", "use_rslora", "use_dora",
    "use_qalora", "fan_in_fan_out", "bias", "lora_bias", "init_lora_weights",
    "layer_replication", "trainable_token_indices", "alora_invocation_tokens",
)  # fmt: skip
_SETS = ("target_modules", "exclude_modules", "target_parameters", "modules_to_save",
         "layers_to_transform", "layers_pattern")  # fmt: skip
"""What PEFT keeps in sets, and writes in any order."""

_DEFAULTS = {"peft_type": "LORA", "bias": "none", "init_lora_weights": True}


def settings_bytes(folder: Path) -> bytes | None:
    """Of a PEFT folder's settings; the whole file where it is none that can be read, None where
    there is no file."""
    try:
        raw = (folder / ADAPTER_CONFIG).read_bytes()
    except OSError:
        return None
    try:
        config = json.loads(raw)
        said = [(key, _plain(config.get(key))) for key in _DECIDES]
        said += [(key, _unordered(config.get(key))) for key in _SETS]
        return json.dumps([(key, value) for key, value in said if _says(key, value)]).encode()
    except (ValueError, AttributeError, TypeError, OverflowError, RecursionError):
        return raw


def _says(key: str, value: Any) -> bool:
    """Whether a value is another than PEFT's default; 0 is."""
    return value is not None and value is not False and value not in ([], _DEFAULTS.get(key))


def _plain(value: Any) -> Any:
    """16 and 16.0 are one; a mapping's pairs in their order, in which its patterns are tried."""
    if isinstance(value, dict):
        return [[key, _plain(held)] for key, held in value.items()]
    if isinstance(value, list):
        return [_plain(held) for held in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _unordered(value: Any) -> Any:
    return sorted(map(json.dumps, value)) if isinstance(value, list) else value
