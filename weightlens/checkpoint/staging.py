"""Memory by way of which blocks are read: used again, it stays in the cache of a processor."""

from threading import local

import torch
from jaxtyping import UInt8
from torch import Tensor

_own = local()
"""What each thread keeps."""


def staging(size: int) -> UInt8[Tensor, "bytes"]:
    """Memory of this thread, until the thread asks again. size: bytes."""
    held: Tensor | None = getattr(_own, "staging", None)
    if held is None or held.numel() < size:
        held = _own.staging = torch.empty(size, dtype=torch.uint8)
    return held[:size]
