"""A merge, its evaluation and its overlap on disk, made up by hand: nothing is merged or asked."""

from pathlib import Path
from typing import Any

import torch
from evaluated import REFUSALS, draw, kept, pair, reply, report, result
from safetensors.torch import save_file
from samples import model
from samples import report as overlap_report

from weightlens.checkpoint.digests import content_hash
from weightlens.evaluate.result import EvalReport, ModelResult
from weightlens.merge.record import (
    MatrixRecord,
    MergeReport,
    Sides,
    SourceRecord,
    StripRecord,
)

BASE, TUNED, MERGED = "models/base", "models/tuned", "runs/merged"
RECIPE = """merge_method: strip
base_model: models/base
models:
  - model: models/tuned  # <script>alert(1)</script>
"""
N = 40


def sides(column: float, row: float) -> Sides:
    return Sides(column=column, row=row, both=column * row, either=column + row - column * row)


def stripped(layer: int, module: str) -> MatrixRecord:
    """Row overlap 0.4 before, 0.01 as written, where chance is 0.2."""
    strip = StripRecord(
        source=TUNED, side="row", subspace="base", rank=4, angle_bound=1e-9,
        chance=sides(0.3, 0.2), before=sides(0.35, 0.4), after=sides(0.35, 0.0), factor=0.0,
        untouched=False, delta_norm=1.0,
    )  # fmt: skip
    return MatrixRecord(
        name=f"model.layers.{layer}.{module}.weight", expert=None, layer=layer, module=module,
        shape=(8, 8), strips=[strip], merged=sides(0.35, 1e-9), written=sides(0.35, 0.01),
        delta_norm=1.0,
    )  # fmt: skip


def merge_report(**changed: Any) -> MergeReport:
    fields: dict[str, Any] = {
        "weightlens": "0", "torch": "2", "recipe": RECIPE,
        "base": SourceRecord(model=BASE, commit=None, hash="b1"),
        "sources": [SourceRecord(model=TUNED, commit=None, hash="b2")],
        "seed": 0, "plan": "p1", "warnings": ["sources differ in <chat template>"], "tensors": 3,
        "bytes": 100, "matrices": [stripped(i, m) for i in range(2) for m in ("a.q", "a.k")],
    }  # fmt: skip
    return MergeReport(**{**fields, **changed})


def write_merge(folder: Path, *, weights: float = 1.0, **changed: Any) -> str:
    """A merge's folder with one small tensor; the hash of its weights."""
    folder.mkdir(parents=True)
    save_file({"w": torch.full((4,), weights)}, folder / "model.safetensors")
    (folder / "weightlens.json").write_text(merge_report(**changed).to_json())
    return content_hash(folder)


def verdicts(model: str) -> tuple[list[float], list[bool], list[bool]]:
    """Right answers, refusals of harmful requests, refusals of harmless ones.

    The base is right on 38 and refuses nothing, the tuned model is right on 20 and refuses all
    that is harmful; the merge is right on 37 and refuses 39.
    """
    right = {BASE: 38, TUNED: 20, MERGED: 37}[model]
    refused = {BASE: 0, TUNED: N, MERGED: N - 1}[model]
    return (
        [float(i < right) for i in range(N)],
        [i < refused for i in range(N)],
        [False] * N,
    )


def write_evaluation(folder: Path, merge_hash: str | None, *, answers: bool = True) -> EvalReport:
    """Three models on sums and on requests, compared with the base."""
    folder.mkdir(parents=True)
    tasks, files = {}, []
    for model_name in (BASE, TUNED, MERGED):
        right, refused, over = verdicts(model_name)
        tasks[model_name] = [
            result("sums", sum(right) / N, n=N),
            result("asked", sum(refused) / N, group="unsafe", metric=REFUSALS, n=N),
            result("asked", 0.0, group="safe", metric=REFUSALS, n=N, higher_is_better=False),
        ]
        requests = [reply(f"r/{i}", refused=said, group="unsafe") for i, said in enumerate(refused)]
        requests += [reply(f"h/{i}", refused=said, group="safe") for i, said in enumerate(over)]
        files += [
            kept(folder, model_name, "sums", [draw(f"s/{i}", v) for i, v in enumerate(right)]),
            kept(folder, model_name, "asked", requests),
        ]
    pairs = [
        pair(BASE, MERGED, "sums", difference=-1 / N, ci95=(-0.1, 0.05), p=1.0, detectable=0.19,
             p_adjusted=1.0, a_only=1, b_only=0),
        pair(BASE, TUNED, "sums", difference=-18 / N, ci95=(-0.6, -0.3), p=1e-5, detectable=0.19,
             p_adjusted=1e-5, a_only=18, b_only=0),
    ]  # fmt: skip
    made = report(tasks, pairs, answers=files if answers else [])
    hashes = {BASE: "b1", TUNED: "b2", MERGED: merge_hash}
    models = [ModelResult(model=m.model, hash=hashes[m.model], tasks=m.tasks) for m in made.models]
    made = made.model_copy(update={"models": models})
    (folder / "eval.json").write_text(made.to_json())
    return made


def write_overlap(file: Path, *names: str, times: float = 1.4) -> None:
    file.write_text(overlap_report([model(name, times=times) for name in names]).to_json())


def write_everything(folder: Path) -> list[Path]:
    """A merge, its evaluation and an overlap; what to name for a report of all."""
    merge_hash = write_merge(folder / "runs" / "merged")
    write_evaluation(folder / "evaluation", merge_hash)
    write_overlap(folder / "overlap.json", TUNED, MERGED)
    return [folder / "runs" / "merged", folder / "evaluation", folder / "overlap.json"]
