"""How a file goes into a repo of the Hub, as far as that can be told before asking it."""

from fnmatch import fnmatchcase
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

Way = Literal["regular", "lfs", "xet"]

LARGE_BYTES = 10_000_000
"""Larger files are never regular ones of a repo, by the Hub's documentation."""

_LARGE = (
    "*.7z", "*.arrow", "*.bin", "*.bz2", "*.ckpt", "*.ftz", "*.gz", "*.h5", "*.joblib", "*.lfs.*",
    "*.mlmodel", "*.model", "*.msgpack", "*.npy", "*.npz", "*.onnx", "*.ot", "*.parquet", "*.pb",
    "*.pickle", "*.pkl", "*.pt", "*.pth", "*.rar", "*.safetensors", "*.tar", "*.tar.*", "*.tflite",
    "*.tgz", "*.wasm", "*.xz", "*.zip", "*.zst", "*tfevents*",
)  # fmt: skip
"""What the .gitattributes of a new model keeps out of git."""


def expected_way(path: str, file: Path) -> Way:
    """For a file that is not on the Hub yet. The Hub itself decides, when it is sent: by its
    .gitattributes, by the size, and by whether the first bytes are text."""
    with file.open("rb") as stream:
        binary = b"\0" in stream.read(512)
    large = binary or file.stat().st_size > LARGE_BYTES
    if large or any(fnmatchcase(path.rpartition("/")[2], pattern) for pattern in _LARGE):
        return "xet" if _has_xet() else "lfs"
    return "regular"


def _has_xet() -> bool:
    """Whether huggingface_hub will use Xet."""
    from huggingface_hub import constants

    return not constants.HF_HUB_DISABLE_XET and find_spec("hf_xet") is not None
