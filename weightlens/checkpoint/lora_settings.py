"""The part of PEFT's adapter_config.json that the arithmetic needs.

Ranks are read off the factors themselves.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weightlens.errors import CheckpointError, UnsupportedTensor

_CHANGES_THE_BASE = ("pissa", "olora", "corda", "lora_ga", "loftq")
"""Initialisations under which PEFT changes the base itself when it loads the adapter."""

_SMALLEST, _LARGEST = 1.5e-45, 3.4e38
"""About the range of float32, the type that deltas are added in."""

_NO_FIXED_DELTA = {
    "alora_invocation_tokens": "it acts from some tokens of a prompt on, and no merge can do so",
    "layer_replication": "its layers are copies of the base's, which the base does not have",
}
"""Settings under which PEFT makes more of the factors than a delta of the base, and why."""


@dataclass(frozen=True)
class LoraSettings:
    """How the factors of an adapter become deltas.

    alpha_pattern: alpha by module, for those that differ. transposed: fan_in_fan_out, the base
    stores its matrices as in x out (GPT-2's Conv1D). base: base_model_name_or_path, for messages.
    """

    alpha: float
    alpha_pattern: Mapping[str, float]
    rslora: bool
    transposed: bool
    base: str | None

    def scale(self, module: str, rank: int) -> float:
        """The factor before B @ A of a module whose factors have `rank` columns."""
        alpha = self.alpha
        for pattern, value in self.alpha_pattern.items():
            if _matcher(pattern).match(module):
                alpha = value
                break
        return alpha / math.sqrt(rank) if self.rslora else alpha / rank


def read_settings(file: Path) -> LoraSettings:
    """Reads adapter_config.json.

    Raises CheckpointError for a damaged file, UnsupportedTensor for adapters whose delta is not
    scale * B @ A.
    """
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
        _check_plain_lora(file, config)
        patterns = {k: _alpha(v) for k, v in (config.get("alpha_pattern") or {}).items()}
        for pattern in patterns:
            _matcher(pattern)
        base = config.get("base_model_name_or_path")
        return LoraSettings(
            alpha=_alpha(config["lora_alpha"]),
            alpha_pattern=patterns,
            rslora=bool(config.get("use_rslora")),
            transposed=bool(config.get("fan_in_fan_out")),
            base=None if base is None else str(base),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError,
            RecursionError, re.error) as error:  # fmt: skip
        raise CheckpointError(f"{file}: not an adapter configuration ({error!r})") from error


def _matcher(pattern: str) -> re.Pattern[str]:
    """A pattern is a module's name or the end of it, as PEFT matches them."""
    return re.compile(rf"(.*\.)?({pattern})$")


def _alpha(value: Any) -> float:
    """A number that float32 holds. Raises ValueError, TypeError, OverflowError."""
    alpha = float(value)
    if alpha != 0 and not _SMALLEST < abs(alpha) < _LARGEST:  # nor is NaN in between
        raise ValueError(f"{alpha} as an alpha, which float32 does not hold")
    return alpha


def _check_plain_lora(file: Path, config: Mapping[str, Any]) -> None:
    kind = config.get("peft_type", "LORA")
    if kind != "LORA":
        raise UnsupportedTensor(f"{file}: a {kind} adapter; only LoRA is understood")
    start = str(config.get("init_lora_weights", "")).lower()
    if start.startswith(_CHANGES_THE_BASE):
        raise UnsupportedTensor(
            f"{file}: a {start} adapter; its delta is not B A alone: merge it into its base with "
            "PEFT and give the result as a full model"
        )
    for key, reason in _NO_FIXED_DELTA.items():
        if config.get(key) not in (None, []):
            raise UnsupportedTensor(f"{file}: sets {key}: {reason}")
