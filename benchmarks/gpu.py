"""The exact path and the leading 64 triplets on an NVIDIA GPU, against torch's SVD drivers.

    python benchmarks/gpu.py [--repeats 3] [--threads 16]

One layer of a 14B-shaped model (hidden 5120, MLP 13824, keys and values 1024). For its MLP shape:
seconds for torch.linalg.svd with each driver, for `factorise` with curves, for the leading 64; how
far TF32 moves the overlaps; and the layer's seven matrices, times 48 layers, as the whole model.
Checks first that the CUDA results are those of the CPU.
"""

import argparse

import torch
from timing import median_seconds, table, with_decay

from weightlens.delta import Dense
from weightlens.device import exact_arithmetic
from weightlens.overlap.curve import overlap_curve
from weightlens.spectral.basis import factorise
from weightlens.spectral.partial import factorise_leading
from weightlens.spectral.rank import SubspaceSize
from weightlens.survey.matrix import measure

M, N, K, LAYERS = 5120, 13824, 64, 48
LAYER = [(5120, 5120), (1024, 5120), (1024, 5120), (5120, 5120), (M, N), (M, N), (N, M)]
DRIVERS = ("gesvd", "gesvda", "gesvdj")


def timed(work: object, repeats: int) -> float:
    """Median seconds, the device waited for."""

    def waited() -> None:
        work()  # type: ignore[operator]
        torch.cuda.synchronize()

    return median_seconds(waited, repeats)


def curves(base: torch.Tensor, delta: torch.Tensor) -> torch.Tensor:
    """Column, row and both at every k, (3, d), on the CPU."""
    found = overlap_curve(factorise(base), Dense(delta))
    return torch.stack([found.column, found.row, found.both]).cpu()


def check_against_cpu(device: torch.device, generator: torch.Generator) -> None:
    """Prints the largest difference between the two on a small matrix of each orientation."""
    for m, n in ((700, 1100), (1100, 700)):
        base, delta = with_decay(m, n, 0.5, generator), torch.randn(m, n, generator=generator)
        difference = (curves(base, delta) - curves(base.to(device), delta.to(device))).abs().max()
        here = factorise_leading(base, K).sigma_squared
        there = factorise_leading(base.to(device), K).sigma_squared.cpu()
        print(f"{m} x {n}: curves differ by {float(difference):.0e}, the leading σ² by "
              f"{float((here - there).abs().max()):.0e}")  # fmt: skip


def print_matrix(base: torch.Tensor, delta: torch.Tensor, repeats: int) -> None:
    """Seconds a matrix."""
    table(f"{M} x {N}", "s", "curves against gesvd's")
    u, _, vt = torch.linalg.svd(base.double(), full_matrices=False, driver="gesvd")
    total = delta.double().square().sum()
    column = (u.T @ delta.double()).square().sum(1).cumsum(0) / total
    row = (delta.double() @ vt.T).square().sum(0).cumsum(0) / total
    reference = torch.stack([column, row]).cpu()
    del u, vt
    for driver in DRIVERS:
        try:
            seconds = timed(
                lambda driver=driver: torch.linalg.svd(base, full_matrices=False, driver=driver), 1
            )
            print(f"| torch.linalg.svd, {driver}, float32 | {seconds:.2f} | |", flush=True)
        except RuntimeError as error:
            print(f"| torch.linalg.svd, {driver}, float32 | failed: {str(error)[:60]} | |")
    ours = timed(lambda: overlap_curve(factorise(base), Dense(delta)), repeats)
    found = curves(base, delta)
    print(f"| exact path, every k | {ours:.2f} | {(found[:2] - reference).abs().max():.0e} |")
    seconds = timed(lambda: factorise_leading(base, K), repeats)
    leading = factorise_leading(base, K)
    print(f"| leading {K}, {leading.path}, bound {leading.certificate(K)[1]:.0e} "
          f"| {seconds:.3f} | |", flush=True)  # fmt: skip
    torch.backends.cuda.matmul.fp32_precision = "tf32"
    loose = curves(base, delta)
    print(f"| the exact path with TF32 on | | {(loose[:2] - reference).abs().max():.0e} |")
    torch.backends.cuda.matmul.fp32_precision = "ieee"


def print_layer(device: torch.device, generator: torch.Generator) -> None:
    """A whole layer, and the model by extrapolation."""
    total = 0.0
    for m, n in LAYER:
        base = torch.randn(m, n, generator=generator).to(device) * 0.02
        delta = Dense(1e-4 * torch.randn(m, n, generator=generator).to(device))
        total += timed(
            lambda base=base, delta=delta: measure(factorise(base), SubspaceSize(), delta), 1
        )
    print(
        f"one layer, every number of the report: {total:.2f} s; {LAYERS} layers by extrapolation: "
        f"{LAYERS * total / 60:.1f} min (arithmetic alone, no reading)"
    )


def main() -> None:
    """Prints everything."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=16)
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("torch sees no CUDA device here: nothing to measure")
    torch.set_num_threads(arguments.threads)
    device = torch.device("cuda")
    generator = torch.Generator().manual_seed(0)
    print(f"torch {torch.__version__}, {torch.cuda.get_device_name()}\n")
    with exact_arithmetic():
        check_against_cpu(device, generator)
        base = with_decay(M, N, 0.5, generator).to(device)
        delta = 0.01 * torch.randn(M, N, generator=generator).to(device)
        print_matrix(base, delta, arguments.repeats)
        print_layer(device, generator)


if __name__ == "__main__":
    main()
