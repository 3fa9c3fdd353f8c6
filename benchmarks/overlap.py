"""Speed of the overlap's parts against a plain SVD, in one run.

    python benchmarks/overlap.py [--threads 2] [--repeats 3]

Bases of 1536 x 8960 with singular values i^-decay and two deltas. Compared with torch.linalg.svd of
the base: whole overlap curves (every k; column, row and both) against the SVD followed by the same
projections, and the leading 64 triplets with their certificate against the SVD alone. Then a LoRA
delta in its factors with the base at hand (in memory, and from the cache on disk) against the same
delta given densely, cold. Medians of runs in turn, after one of each that does not count.
"""

import argparse
import math
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from timing import medians, table, with_decay

from weightlens.delta import Dense, Factored, measurable
from weightlens.factors import FactorCache, factorised
from weightlens.overlap.curve import overlap_curve
from weightlens.overlap.subspace import subspace_overlap
from weightlens.spectral.basis import factorise
from weightlens.spectral.partial import factorise_leading
from weightlens.spectral.rank import SubspaceSize
from weightlens.survey.matrix import measure

M, N, LORA_RANK, K = 1536, 8960, 16, 64
DECAYS = (0.1, 0.17, 0.25, 0.5, 1.0)  # between the first two lie trained layers of small models
SVD = math.inf  # among the decays, what they are compared with


def curves_by_svd(base: torch.Tensor, delta: torch.Tensor) -> torch.Tensor:
    """Column, row and both at every k from the full SVD, (3, d)."""
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


def print_curves(base: torch.Tensor, delta: torch.Tensor, repeats: int) -> None:
    """Whole curves, cold."""
    difference = (curves_by_svd(base, delta).double() - curves(base, delta)).abs().max()
    by_svd, ours = medians(
        {"svd": lambda: curves_by_svd(base, delta), "ours": lambda: curves(base, delta)}, repeats
    ).values()
    table("whole curves", "SVD, s", "weightlens, s", "ratio", "largest difference")
    print(f"| decay 0.5 | {by_svd:.2f} | {ours:.2f} | {by_svd / ours:.1f} | {difference:.0e} |\n")


def print_leading(bases: dict[float, torch.Tensor], repeats: int) -> None:
    """The leading triplets, certified; a fallback is in the time where there was one."""
    works: dict[float, Callable[[], object]] = {
        decay: lambda base=base: factorise_leading(base, K) for decay, base in bases.items()
    }
    works[SVD] = lambda: torch.linalg.svd(bases[0.5], full_matrices=False)
    seconds = medians(works, repeats)
    by_svd = seconds[SVD]
    table(f"k = {K}", "SVD, s", "weightlens, s", "ratio", "path", "angle bound", "true angle")
    for decay, base in bases.items():
        ours = seconds[decay]
        found = factorise_leading(base, K)
        true = factorise(base).vectors[:, :K]
        outside = found.vectors[:, :K] - true @ (true.T @ found.vectors[:, :K])
        angle = float(torch.linalg.matrix_norm(outside, 2))
        print(f"| decay {decay} | {by_svd:.2f} | {ours:.3f} | {by_svd / ours:.1f} | {found.path} "
              f"| {found.certificate(K)[1]:.0e} | {angle:.0e} |")  # fmt: skip
    print()


def print_lora(base: torch.Tensor, generator: torch.Generator, repeats: int) -> None:
    """A LoRA delta, warm, against the dense path, cold."""
    b = torch.randn(M, LORA_RANK, generator=generator)
    lora = Factored(b, torch.randn(LORA_RANK, N, generator=generator), 0.01)
    size, full = SubspaceSize("energy", 0.5), Dense(lora.dense())
    known = factorise(base)
    subspace = known.subspace(size)
    with tempfile.TemporaryDirectory() as folder:
        cache = FactorCache(Path(folder))
        factorised(base, size, cache=cache)

        def from_disk() -> object:
            return factorised(base, size, cache=cache).factorisation

        times = {
            "overlap: dense, cold": lambda: subspace_overlap(full, factorise(base).subspace(size)),
            "overlap: LoRA, subspace in memory": lambda: subspace_overlap(
                measurable(lora), subspace
            ),
            "every number of the report: dense, cold": lambda: measure(factorise(base), size, full),
            "every number: dense, base from disk": lambda: measure(from_disk(), size, full),
            "every number: LoRA, cold": lambda: measure(factorise(base), size, lora),
            "every number: LoRA, base from disk": lambda: measure(from_disk(), size, lora),
            "every number: LoRA, base in memory": lambda: measure(known, size, lora),
        }
        seconds = medians(times, repeats)
    table(f"LoRA r = {LORA_RANK}, energy 0.5 (k = {subspace.rank})", "s", "dense and cold over it")
    for name, value in seconds.items():
        whole = seconds["overlap: dense, cold" if name.startswith("overlap")
                        else "every number of the report: dense, cold"]  # fmt: skip
        print(f"| {name} | {value:.4f} | {whole / value:.1f} |")


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    generator = torch.Generator().manual_seed(0)
    bases = {decay: with_decay(M, N, decay, generator) for decay in DECAYS}
    delta = 0.01 * torch.randn(M, N, generator=generator)
    print(f"torch {torch.__version__}, {arguments.threads} threads, {M} x {N}, "
          f"median of {arguments.repeats}\n")  # fmt: skip
    print_curves(bases[0.5], delta, arguments.repeats)
    print_leading(bases, arguments.repeats)
    print_lora(bases[0.5], generator, arguments.repeats)


if __name__ == "__main__":
    main()
