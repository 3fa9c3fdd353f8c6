"""What the benchmarks share: medians of repeated runs, and matrices like trained ones."""

import statistics
import time
from collections.abc import Callable

import torch


def median_seconds(work: Callable[[], object], repeats: int) -> float:
    """Median of several runs after one that does not count."""
    work()
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def with_decay(m: int, n: int, decay: float, generator: torch.Generator) -> torch.Tensor:
    """A matrix with singular values i^-decay and random singular vectors, float32."""
    d = min(m, n)
    u, _ = torch.linalg.qr(torch.randn(m, d, generator=generator))
    v, _ = torch.linalg.qr(torch.randn(n, d, generator=generator))
    return (u * torch.arange(1, d + 1) ** -decay) @ v.T


def table(*columns: str) -> None:
    """Prints the head of a Markdown table."""
    print("| " + " | ".join(columns) + " |\n" + "|---" * len(columns) + "|")
