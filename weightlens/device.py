"""Where the arithmetic is done, and that it is float32 when it says so.

TF32 keeps ten bits of a float32 product's operands, which shows in every overlap: it is off while
an analysis or a strip runs. Runs on CUDA are untested.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from weightlens.errors import InputError

CPU = torch.device("cpu")


def named_device(name: str) -> torch.device:
    """`cpu`, `cuda`, `cuda:1`, or `auto`. Raises InputError for one that is not there."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InputError(f"--device {name}: no such device; cpu, cuda, cuda:1 or auto") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise InputError(f"--device {name}: torch sees no CUDA device here")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise InputError(f"--device {name}: there are {torch.cuda.device_count()} devices here")
    if device.type not in ("cpu", "cuda"):
        raise InputError(f"--device {name}: float64 is needed, which {device.type} does not have")
    return device


@contextmanager
def exact_arithmetic() -> Iterator[None]:
    """No TF32 within; the setting is put back."""
    matmul = torch.backends.cuda.matmul
    before = matmul.fp32_precision
    matmul.fp32_precision = "ieee"
    try:
        yield
    finally:
        matmul.fp32_precision = before
