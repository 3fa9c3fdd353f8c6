"""How many answers a device holds at once."""

import os
from pathlib import Path
from typing import Any

import torch

_SHARE = {"cpu": 0.25, "cuda": 0.8}
"""Of the memory that is free: the rest is for activations, logits and others."""
_MOST = {"cpu": 64, "cuda": 256}
"""Beyond these a batch gains nothing: measured on CPUs, and what keeps logits small on CUDA."""


def rows_that_fit(model: Any, length: int) -> int:
    """Rows of `length` tokens whose keys, values and logits fit in the free memory; at least 1."""
    kind = model.device.type
    needed = length * token_bytes(model) + logits_bytes(model)
    budget = free_bytes(model.device) * _SHARE.get(kind, 0.25)
    return max(1, min(_MOST.get(kind, 64), int(budget // needed)))


def token_bytes(model: Any) -> int:
    """Bytes of the keys and values of one token; too many where layers share or compress them."""
    config = model.config.get_text_config(decoder=True)
    heads = getattr(config, "num_attention_heads", None) or 1
    kept = getattr(config, "num_key_value_heads", None) or heads
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    layers = getattr(config, "num_hidden_layers", 1)
    return int(2 * layers * kept * width * model.dtype.itemsize)


def logits_bytes(model: Any) -> int:
    """Bytes that choosing one token takes: float32 logits, shares, and a copy of each."""
    return int(model.get_input_embeddings().weight.shape[0] * 4 * 4)


def free_bytes(device: torch.device) -> int:
    """Memory that is free on a device; on the CPU what the system and its container leave."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free)
    pages = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min([_available() or pages, *_container()])


def _available() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    found = next((line for line in lines if line.startswith("MemAvailable:")), None)
    return int(found.split()[1]) * 1024 if found else None


def _container() -> list[int]:
    """What control groups (v2) leave, where they limit memory."""
    root = Path("/sys/fs/cgroup")
    try:
        limit = (root / "memory.max").read_text().strip()
        used = (root / "memory.current").read_text().strip()
    except OSError:
        return []
    return [] if limit == "max" else [max(0, int(limit) - int(used))]
