"""Speed of the exact path against a plain SVD, in one run.

    python benchmarks/overlap.py [--threads 2] [--repeats 3]

A 1536 x 8960 base with the spectrum of a trained layer and two deltas. Compared: whole overlap
curves (every k; column, row and both) by torch.linalg.svd of the base followed by the same
projections, and by weightlens; and a LoRA delta in its factors with the base at hand against the
same delta given densely. Medians; one warm-up each.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from weightlens.delta import Dense, Factored, measurable
from weightlens.overlap.curve import overlap_curve
from weightlens.overlap.subspace import subspace_overlap
from weightlens.spectral.basis import factorise
from weightlens.spectral.rank import SubspaceSize, energy_rank

M, N, LORA_RANK = 1536, 8960, 16


def trained_like(generator: torch.Generator) -> torch.Tensor:
    """A matrix with singular values i^-0.5 and random singular vectors, float32."""
    u, _ = torch.linalg.qr(torch.randn(M, M, generator=generator))
    v, _ = torch.linalg.qr(torch.randn(N, M, generator=generator))
    return (u * torch.arange(1, M + 1) ** -0.5) @ v.T


def curves_by_svd(base: torch.Tensor, delta: torch.Tensor) -> torch.Tensor:
    """Column and row curves from the full SVD, (2, d)."""
    u, _, vt = torch.linalg.svd(base, full_matrices=False)
    total = delta.square().sum()
    column = (u.T @ delta).square().sum(1).cumsum(0) / total
    row = (delta @ vt.T).square().sum(0).cumsum(0) / total
    both = (u.T @ delta @ vt.T).square().cumsum(0).cumsum(1).diagonal() / total
    return torch.stack([column, row, both])


def curves(base: torch.Tensor, delta: torch.Tensor) -> torch.Tensor:
    """The same by weightlens."""
    found = overlap_curve(factorise(base), Dense(delta))
    return torch.stack([found.column, found.row, found.both])


def median_seconds(work: Callable[[], object], repeats: int) -> float:
    """Median of several runs after one that does not count."""
    work()
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    generator = torch.Generator().manual_seed(0)
    base = trained_like(generator)
    delta = 0.01 * torch.randn(M, N, generator=generator)
    b = torch.randn(M, LORA_RANK, generator=generator)
    lora = Factored(b, torch.randn(LORA_RANK, N, generator=generator), 0.01)
    print(f"torch {torch.__version__}, {arguments.threads} threads, {M} x {N}, "
          f"median of {arguments.repeats}")  # fmt: skip

    difference = (curves_by_svd(base, delta).double() - curves(base, delta)).abs().max()
    by_svd = median_seconds(lambda: curves_by_svd(base, delta), arguments.repeats)
    ours = median_seconds(lambda: curves(base, delta), arguments.repeats)
    print("| | SVD, s | weightlens, s | ratio | largest difference |\n|---|---|---|---|---|")
    print(f"| whole curves, cold | {by_svd:.2f} | {ours:.2f} | {by_svd / ours:.1f} "
          f"| {difference:.0e} |")  # fmt: skip

    factorisation = factorise(base)
    k = energy_rank(factorisation.sigma_squared, 0.5)
    subspace = factorisation.subspace(SubspaceSize("energy", 0.5))
    dense_delta = lora.dense()

    def dense_path() -> object:
        cold = factorise(base).subspace(SubspaceSize("energy", 0.5))
        return subspace_overlap(Dense(dense_delta), cold)

    def lora_path() -> object:
        return subspace_overlap(measurable(lora), subspace)

    dense, warm = (median_seconds(work, arguments.repeats) for work in (dense_path, lora_path))
    print(f"| LoRA r = {LORA_RANK}, k = {k}: dense and cold against factored and warm "
          f"| {dense:.2f} | {warm:.4f} | {dense / warm:.0f} | |")  # fmt: skip


if __name__ == "__main__":
    main()
