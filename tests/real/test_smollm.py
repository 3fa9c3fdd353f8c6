"""Overlap and merge on a real language model: SmolLM2-135M-Instruct and two fine-tunes of it.

WEIGHTLENS_REAL=full compares every matrix with NumPy's SVD and every side of the strip; otherwise
every fifth layer and one side, in under three minutes.
"""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from reference import check_overlaps
from safetensors.torch import load_file
from smollm import adapter, base, full

from weightlens.checkpoint.adapter import Adapter
from weightlens.checkpoint.selection import Selection
from weightlens.merge.engine import run_merge
from weightlens.merge.record import summarise_strips
from weightlens.survey.overlap import measure_overlap
from weightlens.survey.result import OverlapReport

pytestmark = pytest.mark.real

EVERYTHING = os.environ.get("WEIGHTLENS_REAL") == "full"
SELECTION = Selection() if EVERYTHING else Selection(include=r"layers\.\d?[05]\..*_proj")
SIDES = ("column", "row", "both", "either") if EVERYTHING else ("column",)


@pytest.fixture(scope="module")
def report(measured: Callable[[str], None]) -> OverlapReport:
    found = measure_overlap(base(), [full(), adapter()], selection=SELECTION)
    for model in found.models:
        mean = model.summary.all
        share = "" if mean.rounding_share is None else f", rounding {mean.rounding_share:.2f}"
        measured(
            f"SmolLM2 {model.kind}: column {mean.column_over_chance:.2f} x chance, "
            f"row {mean.row_over_chance:.2f} x{share}"
        )
    return found


@pytest.mark.parametrize("index", [0, 1], ids=["full", "lora"])
def test_every_matrix_reads_like_numpy_reads_it(
    report: OverlapReport, index: int, measured: Callable[[str], None]
) -> None:
    weights = load_file(base() / "model.safetensors")
    tuned = load_file(full() / "model.safetensors")
    factors = Adapter(adapter())
    matrices = report.models[index].matrices
    assert len(matrices) == (210 if EVERYTHING else 42)
    worst = 0.0
    for record in matrices:
        w = weights[record.name].double()
        if index == 0:
            delta = tuned[record.name].double() - w
        else:
            factored = factors.factored(record.name)
            delta = factored.scale * factored.b.double() @ factored.a.double()
        worst = max(worst, check_overlaps(record, w, delta))
    kind = report.models[index].kind
    measured(f"SmolLM2 {kind}: {len(matrices)} matrices within {worst:.0e} of NumPy's SVD")


def test_every_subspace_is_certified(report: OverlapReport) -> None:
    for record in report.models[0].matrices:
        assert record.subspace.angle_bound is not None
        assert record.subspace.angle_bound < 1e-3


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("source", [full, adapter], ids=["full", "lora"])
def test_a_strip_removes_the_overlap_and_the_merge_generates(
    tmp_path: Path, side: str, source: Callable[[], Path], measured: Callable[[str], None]
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    file = tmp_path / "recipe.yaml"
    file.write_text(
        f"merge_method: strip\nbase_model: {base()}\nmodels:\n"
        f"- {{model: {source()}, parameters: {{weight: 1.0}}}}\n"
        f"parameters: {{side: {side}, target: 0}}\nout_dtype: bfloat16\n"
    )
    (summary,) = summarise_strips(run_merge(file, tmp_path / "out"))
    measured(
        f"SmolLM2 {source.__name__} strip {side}: {summary.before:.3f} before, "
        f"{summary.merged:.1e} after, {summary.written:.4f} as written, chance {summary.chance:.3f}"
    )
    assert summary.matrices == 210
    assert summary.merged < 1e-5
    assert summary.written > summary.merged
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert model.lm_head.weight is model.model.embed_tokens.weight
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    asked = tokenizer.apply_chat_template(
        [{"role": "user", "content": "What is the capital of France?"}],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=True,
    )
    # the first word of the answer is a tie of bfloat16 logits after one of these merges, and what
    # follows it another language: the fact is asked for after a beginning that settles this
    begun = tokenizer("The capital of France is", return_tensors="pt")
    whole = {name: torch.cat([asked[name], begun[name]], 1) for name in begun}
    with torch.inference_mode():
        said = model.generate(**whole, max_new_tokens=6, do_sample=False)
    assert "Paris" in tokenizer.decode(said[0, whole["input_ids"].shape[1] :])
