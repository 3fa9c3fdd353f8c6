"""What this machine has that weightlens would use: `weightlens doctor`."""

import os
import platform
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from pydantic import Field

from weightlens.record import Record
from weightlens.version import VERSION

CORE = ("torch", "safetensors", "numpy", "scipy", "huggingface-hub", "mergekit")
EXTRAS: dict[str, tuple[str, ...]] = {
    "eval": ("transformers", "Jinja2", "math-verify", "pyarrow", "requests"),
    "align": ("transformers", "peft"),
    "lm-eval": ("lm-eval",),
    "vllm": ("vllm",),
}
"""What each extra installs, as `pip install 'weightlens-toolkit[NAME]'` calls it."""


class Device(Record):
    """A CUDA device. memory: bytes, in all and free."""

    name: str
    memory: int
    free: int


class Machine(Record):
    """Versions of packages, None where one is not installed; memory and disk in bytes.

    memory: in all and available, None where the system does not say. disk: free, in the current
    folder. bfloat16: see `has_bfloat16`. token: whether the Hub's client has one, which itself goes
    nowhere. offline: whether the client is told to stay so. bubblewrap: whether programs that
    models write can be run behind it.
    """

    schema_: Literal["weightlens.doctor/1"] = Field(default="weightlens.doctor/1", alias="schema")
    weightlens: str
    python: str
    system: str
    processors: int
    memory: tuple[int, int] | None
    disk: int
    bfloat16: bool
    devices: list[Device]
    core: dict[str, str | None]
    extras: dict[str, dict[str, str | None]]
    token: bool
    offline: bool
    bubblewrap: bool


def inspect_machine() -> Machine:
    """Looks; changes nothing and asks nobody."""
    from huggingface_hub import constants, get_token

    return Machine(
        weightlens=VERSION,
        python=platform.python_version(),
        system=f"{platform.system()} {platform.machine()}",
        processors=len(os.sched_getaffinity(0)),
        memory=_memory(),
        disk=shutil.disk_usage(Path.cwd()).free,
        bfloat16=has_bfloat16(),
        devices=_devices(),
        core={name: _version(name) for name in CORE},
        extras={extra: {name: _version(name) for name in names} for extra, names in EXTRAS.items()},
        token=bool(get_token()),
        offline=bool(constants.HF_HUB_OFFLINE),
        bubblewrap=shutil.which("bwrap") is not None,
    )


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _memory(table: Path = Path("/proc/meminfo")) -> tuple[int, int] | None:
    try:
        lines = [line.split() for line in table.read_text(encoding="ascii").splitlines()]
        kib = {words[0].rstrip(":"): int(words[1]) for words in lines}
        return kib["MemTotal"] * 1024, kib["MemAvailable"] * 1024
    except (OSError, ValueError, KeyError, IndexError):
        return None


def has_bfloat16() -> bool:
    """Whether this processor multiplies matrices in bfloat16 by instructions of its own."""
    import torch

    asked = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
    capable = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(asked and asked() and capable and capable())


def _devices() -> list[Device]:
    import torch

    found = []
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        free, total = torch.cuda.mem_get_info(index)
        name = torch.cuda.get_device_name(index)
        found.append(Device(name=name, memory=total, free=free))
    return found
