"""Merges by weightlens and by mergekit, in turn, on the same generated checkpoints.

    python benchmarks/merge.py [--model qwen2.5-1.5b] [--methods linear,ties,…] [--folder DIR]
                               [--repeats 1] [--without-peer] [--curve | --strip] [--device cpu]

Writes a base and two fine-tunes (bfloat16, normal weights and deltas) into a folder, and for every
method runs `weightlens merge` and `mergekit-yaml` one after the other: wall time and peak memory of
all their processes, medians of the repeats, and their ratio, also without what either takes to
import itself. weightlens waits until its output is on the disk, mergekit does not, so it is
measured with --no-sync too. The floor is reading the sources and writing a file of the size of the
output, with `cat` and `cp`, and `sync` for the time until that file is on the disk. --curve: peak
memory of weightlens over models of growing size instead. --strip: a strip merge beside the
factorisations that it needs. --device cuda: mergekit gets --cuda, weightlens --device cuda.
"""

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import torch
from launching import Taken, launched
from shapes import MODELS, Shape, write_checkpoint
from timing import table

PER_SOURCE = {
    "linear": {}, "task_arithmetic": {}, "ties": {"density": 0.4}, "dare_linear": {"density": 0.4},
    "dare_ties": {"density": 0.4}, "della": {"density": 0.4}, "della_linear": {"density": 0.4},
    "breadcrumbs": {"density": 0.4}, "breadcrumbs_ties": {"density": 0.4}, "nuslerp": {},
    "multislerp": {}, "karcher": None, "model_stock": None, "sce": None, "ram": None,
    "ramplus_tl": None, "slerp": None, "nearswap": None, "arcee_fusion": None,
}  # fmt: skip
"""Parameters of each source besides its weight; None where sources have none."""
SHARED = {"slerp": {"t": 0.4}, "nearswap": {"t": 0.001}, "sce": {"select_topk": 0.3}}
ONE_SOURCE = ("slerp", "nearswap", "arcee_fusion")
WITHOUT_BASE = ("linear", "karcher")


def recipe(method: str) -> dict[str, object]:
    """A recipe for the folders base, one and two."""
    own = PER_SOURCE[method]
    names = ["one"] if method in ONE_SOURCE else ["one", "two"]
    models: list[dict[str, object]] = [{"model": name} for name in names]
    for model in models if own is not None else []:
        model["parameters"] = {"weight": 0.5} | own
    found: dict[str, object] = {"merge_method": method, "models": models, "dtype": "bfloat16"}
    if method not in WITHOUT_BASE:
        found["base_model"] = "base"
    return found | ({"parameters": SHARED[method]} if method in SHARED else {})


def tool(name: str) -> str:
    """The command's file in this environment."""
    return str(Path(sys.executable).with_name(name))


def repeated(run: Callable[[], Taken], repeats: int) -> Taken:
    """Medians."""
    taken = [run() for _ in range(repeats)]
    return Taken(statistics.median(t.seconds for t in taken), max(t.peak for t in taken))


class Bench:
    """Runs in one folder, with so many threads."""

    def __init__(self, folder: Path, threads: int, repeats: int, device: str = "cpu") -> None:
        self.folder, self.repeats, self.device = folder, repeats, device
        self.environment = os.environ | {"OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1"}

    def run(self, *command: str) -> Taken:
        """One command; its output folder is removed before."""

        def once() -> Taken:
            shutil.rmtree(self.folder / "out", ignore_errors=True)
            return launched(command, self.folder, self.environment)

        return repeated(once, self.repeats)

    def floor(self, method: str, *, synced: bool = False) -> Taken:
        """Reading what goes in and writing what comes out; synced: until that is on the disk."""
        names = ["one"] if method in ONE_SOURCE else ["one", "two"]
        names += [] if method in WITHOUT_BASE else ["base"]
        read = " ".join(f"{name}/*.safetensors" for name in names)
        command = f"cat {read} > /dev/null; mkdir out; cp one/*.safetensors out/"
        return self.run("sh", "-c", command + ("; sync out/*" if synced else ""))

    def ours(self, method: str, *options: str) -> Taken:
        """`weightlens merge`."""
        return self.run(tool("weightlens"), "merge", f"{method}.json", "out", "--device",
                        self.device, *options)  # fmt: skip

    def theirs(self, method: str) -> Taken:
        """`mergekit-yaml`, without looking for tokenizers, which these folders do not have."""
        cuda = ["--cuda"] if self.device != "cpu" else []
        return self.run(tool("mergekit-yaml"), f"{method}.json", "out", "--no-copy-tokenizer",
                        "--no-write-model-card", "--quiet", *cuda)  # fmt: skip

    def imports(self) -> tuple[float, float]:
        """Seconds that ours and theirs take to import themselves."""
        ours = self.run(sys.executable, "-c", "import weightlens.merge.engine")
        theirs = self.run(sys.executable, "-c", "import mergekit.scripts.run_yaml")
        return ours.seconds, theirs.seconds


def prepared(folder: Path, shape: Shape) -> int:
    """Writes the checkpoints that are not there yet; returns the parameters of one."""
    entries = 0
    for name, seed, like in (("base", 1, None), ("one", 2, 1), ("two", 3, 1)):
        if not (folder / name).exists():
            entries = write_checkpoint(folder / name, shape, seed, like)
    for method in PER_SOURCE:
        (folder / f"{method}.json").write_text(json.dumps(recipe(method)))
    sizes = (file.stat().st_size for file in (folder / "base").glob("*.safetensors"))
    return entries or sum(sizes) // 2


def compare(bench: Bench, methods: Sequence[str], peer: bool) -> None:
    """Prints the table of methods."""
    ours_import, theirs_import = bench.imports()
    print(f"imports: weightlens {ours_import:.1f} s, mergekit {theirs_import:.1f} s\n")
    table("method", "floor s", "floor synced s", "weightlens s", "no sync s", "MB",
          "mergekit s", "MB", "ratio", "no sync, ratio", "no sync, no imports, ratio")  # fmt: skip
    for method in methods:
        floor, synced = bench.floor(method), bench.floor(method, synced=True)
        ours = bench.ours(method)
        unsynced = bench.ours(method, "--no-sync")
        seconds = (taken.seconds for taken in (floor, synced, ours, unsynced))
        cells = [method, *(f"{s:.1f}" for s in seconds), f"{ours.peak:.0f}"]
        if peer:
            theirs = bench.theirs(method)
            bare = (theirs.seconds - theirs_import) / (unsynced.seconds - ours_import)
            cells += [f"{theirs.seconds:.1f}", f"{theirs.peak:.0f}",
                      f"{theirs.seconds / ours.seconds:.1f}",
                      f"{theirs.seconds / unsynced.seconds:.1f}", f"{bare:.1f}"]  # fmt: skip
        else:
            cells += ["not measured"] * 5
        print("| " + " | ".join(cells) + " |", flush=True)


def curve(folder: Path, threads: int, methods: Sequence[str]) -> None:
    """Prints weightlens's peak memory over models of growing size."""
    table("parameters", *(f"{method} MB" for method in methods))
    sizes = {"0.1b": 12, "qwen2.5-0.5b": 24, "qwen2.5-1.5b": 28, "3b": 36}
    for name in sizes:
        place = folder / f"curve-{name}"
        place.mkdir(exist_ok=True)
        entries = prepared(place, MODELS[name])
        bench = Bench(place, threads, 1)
        peaks = [f"{bench.ours(method).peak:.0f}" for method in methods]
        print(f"| {entries / 1e9:.2f} B | " + " | ".join(peaks) + " |", flush=True)
        shutil.rmtree(place)


def strip(folder: Path, shape: Shape, threads: int, device: str) -> None:
    """Prints what a strip merge takes beside its own factorisations, in this process, on matrices
    whose spectra fall off like trained ones."""
    import time

    from end_to_end import write_pair

    from weightlens.merge import matrix
    from weightlens.merge.engine import run_merge

    torch.set_num_threads(threads)
    few = replace(shape, vocabulary=1024)
    write_pair(folder, few, 3, torch.Generator().manual_seed(0))
    spent = 0.0

    def timed(function: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object, **named: object) -> object:
            nonlocal spent
            began = time.perf_counter()
            found = function(*arguments, **named)
            if device != "cpu":
                torch.cuda.synchronize()
            spent += time.perf_counter() - began
            return found

        return call

    matrix.factorised = timed(matrix.factorised)  # type: ignore[assignment]
    matrix.MatrixSurgery._subspace = timed(matrix.MatrixSurgery._subspace)  # type: ignore
    table("side", "merge s", "its factorisations s", "ratio")
    for side in ("column", "row", "either"):
        text = {"merge_method": "strip", "base_model": str(folder / "base"),
                "models": [{"model": str(folder / "tuned"), "parameters": {"weight": 1.0}}],
                "parameters": {"side": side, "energy": 0.5, "target": "chance"}}  # fmt: skip
        (folder / "strip.json").write_text(json.dumps(text))
        shutil.rmtree(folder / "out", ignore_errors=True)
        spent, began = 0.0, time.perf_counter()
        run_merge(folder / "strip.json", folder / "out", device=device)
        seconds = time.perf_counter() - began
        print(f"| {side} | {seconds:.1f} | {spent:.1f} | {seconds / spent:.2f} |", flush=True)


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", choices=MODELS, default="qwen2.5-1.5b")
    parser.add_argument("--methods", default=",".join(PER_SOURCE))
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--without-peer", action="store_true")
    parser.add_argument("--curve", action="store_true")
    parser.add_argument("--strip", action="store_true")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    folder = arguments.folder or Path(tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    print(f"{datetime.now(UTC):%Y-%m-%d}, torch {torch.__version__}, mergekit "
          f"{version('mergekit')}, {arguments.threads} threads\n")  # fmt: skip
    if arguments.strip:
        strip(folder, MODELS[arguments.model], arguments.threads, arguments.device)
    elif arguments.curve:
        curve(folder, arguments.threads, arguments.methods.split(","))
    else:
        entries = prepared(folder, MODELS[arguments.model])
        print(f"{arguments.model}: {entries / 1e9:.2f} B parameters x 3 models, bfloat16\n")
        bench = Bench(folder, arguments.threads, arguments.repeats, arguments.device)
        compare(bench, arguments.methods.split(","), not arguments.without_peer)
    if arguments.folder is None:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
