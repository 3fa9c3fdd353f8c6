"""How far a randomised SVD misreads overlap, and what the certified subspaces read.

    python benchmarks/subspaces.py

A delta that lies wholly in the base's top-k column space has overlap 1 by construction. The base is
1536 x 1536 with the slowly falling spectrum of a trained layer, sigma_i = i^-decay, and random
singular vectors. Read by torch.svd_lowrank(q=k, niter=2), as is common, and by weightlens.
"""

import time

import torch

from weightlens.delta import Dense
from weightlens.overlap.subspace import dense_overlap
from weightlens.spectral.basis import Subspace, factorise
from weightlens.spectral.rank import SubspaceSize

SIZE = 1536
RANKS = (16, 64, 128)
DECAYS = (0.25, 0.5, 1.0)


def trained_like(decay: float, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """W (float32) and its left singular vectors (float64)."""
    u, v = (
        torch.linalg.qr(torch.randn(SIZE, SIZE, generator=generator, dtype=torch.float64))[0]
        for _ in range(2)
    )
    sigma = torch.arange(1, SIZE + 1, dtype=torch.float64) ** -decay
    return ((u * sigma) @ v.T).float(), u


def randomised(matrix: torch.Tensor, k: int) -> Subspace:
    """The subspace as a randomised SVD gives it."""
    u, _, v = torch.svd_lowrank(matrix, q=k, niter=2)
    return Subspace(u, v, energy=0.0, gap=0.0, angle_bound=0.0)


def main() -> None:
    """Prints the table."""
    torch.manual_seed(0)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {SIZE} x {SIZE}")
    print("| decay | k | svd_lowrank(q=k, niter=2) | weightlens | its angle bound "
          "| seconds: svd_lowrank | weightlens, every k |")  # fmt: skip
    print("|---|---|---|---|---|---|---|")
    for decay in DECAYS:
        generator = torch.Generator().manual_seed(1)
        matrix, u = trained_like(decay, generator)
        began = time.perf_counter()
        factorisation = factorise(matrix)
        ours_seconds = time.perf_counter() - began
        for k in RANKS:
            coefficients = torch.randn(k, SIZE, generator=generator, dtype=torch.float64)
            delta = Dense((u[:, :k] @ coefficients).float())
            began = time.perf_counter()
            lowrank = randomised(matrix, k)
            seconds = time.perf_counter() - began
            subspace = factorisation.subspace(SubspaceSize("rank", k))
            theirs = dense_overlap(delta.matrix, lowrank).column
            ours = dense_overlap(delta.matrix, subspace).column
            print(f"| {decay} | {k} | {theirs:.3f} | {ours:.6f} | {subspace.angle_bound:.1e} "
                  f"| {seconds:.3f} | {ours_seconds:.3f} |")  # fmt: skip


if __name__ == "__main__":
    main()
