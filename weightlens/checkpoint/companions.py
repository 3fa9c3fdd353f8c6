"""The files beside the weights: config, generation config, tokenizer, chat template, code."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from weightlens.checkpoint.chat import is_of_tokenizer, set_chat_template
from weightlens.checkpoint.config import (
    CONFIG_FILE,
    read_config,
    with_changes,
    without_quantisation,
)

_KEPT = {".json", ".jinja", ".txt", ".model", ".tiktoken", ".py"}
_LEFT_OUT = ("adapter_config.json", "weightlens.json", "trainer_state.json", "README",
             "quantize_config.json", "quant_config.json", "hf_quant_config.json")  # fmt: skip
"""Of other outputs and of trainings, and what GPTQ, AWQ and ModelOpt say of quantised weights."""


def companions(folder: Path) -> list[Path]:
    """What belongs to a model besides its weights."""
    return [
        file
        for file in sorted(folder.iterdir())
        if file.is_file()
        and file.suffix in _KEPT
        and not file.name.endswith(".index.json")
        and not file.name.startswith(_LEFT_OUT)
    ]


def copy_companions(
    folder: Path,
    out: Path,
    *,
    dtype: torch.dtype | None,
    changes: Mapping[str, Any] = MappingProxyType({}),
    tokenizer: Path | None = None,
    chat_template: str | None = None,
) -> None:
    """Copies them for weights in full precision: config.json without the description of a
    quantisation, with the dtype written where one is given, and with other changes.

    tokenizer: the folder that the tokenizer comes from, where it is another one. chat_template: put
    in the place of the tokenizer's own. Raises CheckpointError where config.json is no JSON.
    """
    other = tokenizer is not None and tokenizer != folder
    for file in companions(folder):
        if not (other and is_of_tokenizer(file.name)):
            shutil.copyfile(file, out / file.name)
    words = tokenizer if other and tokenizer is not None else folder
    for file in companions(words) if other else []:
        if is_of_tokenizer(file.name):
            shutil.copyfile(file, out / file.name)
    templates = words / "additional_chat_templates"
    if templates.is_dir():
        shutil.copytree(templates, out / templates.name)
    if chat_template is not None:
        set_chat_template(out, chat_template)
    config = read_config(folder)
    written = with_changes(without_quantisation(config), changes)
    if dtype is not None and (folder / CONFIG_FILE).exists():
        key = "torch_dtype" if "torch_dtype" in config else "dtype"
        written[key] = str(dtype).removeprefix("torch.")
    if written != config:
        text = json.dumps(written, indent=2) + "\n"
        (out / CONFIG_FILE).write_text(text, encoding="utf-8")
