"""Which files of a folder hold its weights: safetensors, and pickles only where there are none."""

from pathlib import Path

from weightlens.checkpoint import header

PICKLED_FILE = "pytorch_model.bin"
PICKLED_INDEX = "pytorch_model.bin.index.json"
ADAPTER_FILE = "adapter_model.safetensors"
ADAPTER_CONFIG = "adapter_config.json"
PICKLED_ADAPTER = "adapter_model.bin"


def is_pickled(folder: Path) -> bool:
    """Whether a folder's weights are read from pickles: it has such, and no safetensors."""
    names = (PICKLED_INDEX, PICKLED_FILE)
    return not has_safetensors(folder) and any((folder / name).is_file() for name in names)


def is_pickled_adapter(folder: Path) -> bool:
    """Whether a PEFT folder's factors are read from a pickle."""
    return not has_safetensors(folder) and (folder / PICKLED_ADAPTER).is_file()


def has_safetensors(folder: Path) -> bool:
    """Whether a folder holds safetensors, or an index that promises them."""
    return (folder / header.INDEX_FILE).is_file() or any(folder.glob("*.safetensors"))


def hashed_files(folder: Path) -> list[Path]:
    """The files that stand for a folder's weights in its hash: its safetensors, or else its pickled
    weights and factors; by name. Links that lead nowhere are none."""
    pickles = ("pytorch_model*.bin", PICKLED_ADAPTER)
    patterns = ("*.safetensors",) if has_safetensors(folder) else pickles
    found = [file for pattern in patterns for file in folder.glob(pattern)]
    return sorted(file for file in found if file.is_file())
