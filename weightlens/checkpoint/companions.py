"""The files beside the weights: config, generation config, tokenizer, chat template, code."""

import json
import shutil
from pathlib import Path

import torch

from weightlens.errors import CheckpointError

_KEPT = {".json", ".jinja", ".txt", ".model", ".tiktoken", ".py"}
_LEFT_OUT = ("adapter_config.json", "weightlens.json", "trainer_state.json", "README")


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
    """Copies them, with the dtype in config.json set to the one written.

    Raises CheckpointError where config.json is no JSON.
    """
    for file in companions(folder):
        shutil.copyfile(file, out / file.name)
    templates = folder / "additional_chat_templates"
    if templates.is_dir():
        shutil.copytree(templates, out / templates.name)
    if dtype is not None and (out / "config.json").exists():
        _set_dtype(out / "config.json", str(dtype).removeprefix("torch."))


def _set_dtype(file: Path, name: str) -> None:
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{file.name}: not valid JSON ({error})") from error
    if not isinstance(config, dict):
        raise CheckpointError(f"{file.name}: a config is a mapping")
    key = "torch_dtype" if "torch_dtype" in config else "dtype"
    config[key] = name
    file.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


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
