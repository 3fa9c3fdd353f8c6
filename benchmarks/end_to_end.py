"""A whole pair of models through the command line: seconds, peak memory, GFLOP/s.

    python benchmarks/end_to_end.py [--threads 2] [--model qwen2.5-0.5b] [--layers N]

Writes a base and a fine-tune of the shapes of the model named (bfloat16, spectra that fall off like
trained ones, a delta of a few directions and noise) into a temporary folder, runs `weightlens
overlap BASE TUNED` there, cold and again with the base's factorisations on disk, and prints what it
took, beside what a plain product of matrices reaches with the same threads.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

import torch
from launching import launched
from safetensors.torch import save_file
from shapes import MODELS, Shape
from timing import median_seconds, table

from weightlens.survey.work import dense_flop, factorisation_flop


def write_pair(folder: Path, shape: Shape, layers: int, generator: torch.Generator) -> int:
    """BASE and TUNED; returns the number of parameters of one."""
    base: dict[str, torch.Tensor] = {}
    tuned: dict[str, torch.Tensor] = {}
    embedding = torch.randn(shape.vocabulary, shape.hidden, generator=generator) * 0.02
    base["model.embed_tokens.weight"] = tuned["model.embed_tokens.weight"] = embedding.bfloat16()
    for layer in range(layers):
        for name, (m, n) in shape.matrices().items():
            fall = torch.arange(1, n + 1) ** -0.5
            mixed = torch.randn(m, n, generator=generator) * fall
            weight = mixed[:, torch.randperm(n, generator=generator)] * 0.1
            low = torch.randn(m, 8, generator=generator) @ torch.randn(8, n, generator=generator)
            delta = 1e-4 * low + 2e-4 * torch.randn(m, n, generator=generator)
            full = f"model.layers.{layer}.{name}.weight"
            base[full], tuned[full] = weight.bfloat16(), (weight + delta).bfloat16()
    for name, tensors in (("base", base), ("tuned", tuned)):
        (folder / name).mkdir()
        save_file(tensors, folder / name / "model.safetensors", metadata={"format": "pt"})
        (folder / name / "config.json").write_text(json.dumps({"model_type": "qwen2"}))
    return sum(t.numel() for t in base.values())


def run(folder: Path, threads: int, *options: str) -> tuple[float, float]:
    """(seconds, peak MB) of one command."""
    command = [str(Path(sys.executable).with_name("weightlens")), "overlap", "base", "tuned"]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "WEIGHTLENS_CACHE": "cache"}
    taken = launched([*command, *options], folder, environment)
    return taken.seconds, taken.peak


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--model", choices=MODELS, default="qwen2.5-0.5b")
    parser.add_argument("--layers", type=int)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    shape = MODELS[arguments.model]
    layers = arguments.layers or shape.layers
    square = torch.randn(4096, 4096, dtype=torch.float64)
    seconds_of = {x.dtype: median_seconds(lambda x=x: x @ x, 3) for x in (square, square.float())}
    reached = {dtype: 2 * 4096**3 / seconds / 1e9 for dtype, seconds in seconds_of.items()}
    del square
    flop = layers * sum(factorisation_flop(m, n) + dense_flop(m, n)
                        for m, n in shape.matrices().values())  # fmt: skip
    largest = max(m * n for m, n in shape.matrices().values()) * 4 / 1e6
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        parameters = write_pair(folder, shape, layers, torch.Generator().manual_seed(0))
        print(f"{arguments.model}, {layers} layers, {parameters / 1e9:.2f} B parameters, "
              f"{flop / 1e12:.2f} TFLOP; torch {torch.__version__}, {arguments.threads} threads; "
              f"a plain product reaches {reached[torch.float64]:.0f} GFLOP/s in float64, "
              f"{reached[torch.float32]:.0f} in float32; four of the largest matrix in float32 and "
              f"500 MB are {4 * largest + 500:.0f} MB\n")  # fmt: skip
        table("", "s", "GFLOP/s", "peak MB")
        for title, options in (
            ("cold, nothing kept", ("--no-cache",)),
            ("cold, factorisations written", ()),
            ("base from disk", ()),
            ("with curves and page", ("--html", "page.html")),
            ("rank 64", ("--no-cache", "--rank", "64")),
        ):
            seconds, peak = run(folder, arguments.threads, *options)
            counted = f"{flop / seconds / 1e9:.0f}" if title.startswith("cold") else ""
            print(f"| {title} | {seconds:.1f} | {counted} | {peak:.0f} |", flush=True)


if __name__ == "__main__":
    main()
