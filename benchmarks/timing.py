"""What the benchmarks share: medians of repeated runs, and matrices like trained ones."""

import statistics
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

import torch

Name = TypeVar("Name")


def median_seconds(work: Callable[[], object], repeats: int) -> float:
    """Median of several runs after one that does not count."""
    return medians({"": work}, repeats)[""]


def medians(works: Mapping[Name, Callable[[], object]], repeats: int) -> dict[Name, float]:
    """Median seconds of several works, done in turn: what slows a machine for a while slows all."""
    seconds: dict[Name, list[float]] = {name: [] for name in works}
    for work in works.values():
        work()
    for _ in range(repeats):
        for name, work in works.items():
            began = time.perf_counter()
            work()
            seconds[name].append(time.perf_counter() - began)
    return {name: statistics.median(all_of_one) for name, all_of_one in seconds.items()}


def with_decay(m: int, n: int, decay: float, generator: torch.Generator) -> torch.Tensor:
    """A matrix with singular values i^-decay and random singular vectors, float32."""
    d = min(m, n)
    u, _ = torch.linalg.qr(torch.randn(m, d, generator=generator))
    v, _ = torch.linalg.qr(torch.randn(n, d, generator=generator))
    return (u * torch.arange(1, d + 1) ** -decay) @ v.T


def table(*columns: str) -> None:
    """Prints the head of a Markdown table."""
    print("| " + " | ".join(columns) + " |\n" + "|---" * len(columns) + "|")
