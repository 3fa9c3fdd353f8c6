"""The files beside the weights: config, generation config, tokenizer, chat template, code."""

import json
import shutil
from pathlib import Path

import torch

from weightlens.checkpoint.config import CONFIG_FILE, read_config, without_quantisation

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


def copy_companions(folder: Path, out: Path, *, dtype: torch.dtype | None) -> None:
    """Copies them for weights in full precision: config.json without the description of a
    quantisation, and with the dtype written where one is given.

    Raises CheckpointError where config.json is no JSON.
    """
    for file in companions(folder):
        shutil.copyfile(file, out / file.name)
    templates = folder / "additional_chat_templates"
    if templates.is_dir():
        shutil.copytree(templates, out / templates.name)
    config = read_config(folder)
    written = without_quantisation(config)
    if dtype is not None and (folder / CONFIG_FILE).exists():
        key = "torch_dtype" if "torch_dtype" in config else "dtype"
        written[key] = str(dtype).removeprefix("torch.")
    if written != config:
        text = json.dumps(written, indent=2) + "\n"
        (out / CONFIG_FILE).write_text(text, encoding="utf-8")


def content_hash(folder: Path) -> str:
    """xxh3-128 over names and bytes of a folder's safetensors files, in order of their names."""
    import xxhash

    digest = xxhash.xxh3_128()
    for file in sorted(folder.glob("*.safetensors")):
        digest.update(file.name.encode())
        with file.open("rb") as stream:
            while chunk := stream.read(1 << 24):
                digest.update(chunk)
    return digest.hexdigest()
