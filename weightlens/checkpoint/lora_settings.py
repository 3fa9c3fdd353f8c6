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
            # a pattern is the module's name or the end of it, as PEFT matches them
            if re.match(rf"(.*\.)?({pattern})$", module):
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
        patterns = {k: float(v) for k, v in (config.get("alpha_pattern") or {}).items()}
        for pattern in patterns:
            re.compile(pattern)
        return LoraSettings(
            alpha=float(config["lora_alpha"]),
            alpha_pattern=patterns,
            rslora=bool(config.get("use_rslora")),
            transposed=bool(config.get("fan_in_fan_out")),
            base=config.get("base_model_name_or_path"),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, re.error) as error:
        raise CheckpointError(f"{file}: not an adapter configuration ({error!r})") from error


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
