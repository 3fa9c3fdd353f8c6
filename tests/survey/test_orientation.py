"""GPT-2 stores inputs x outputs: column still means outputs, in measuring and in stripping."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from weightlens.checkpoint.read import FolderWeights
from weightlens.merge.engine import run_merge
from weightlens.survey.compare import compare_models
from weightlens.survey.overlap import measure_overlap

NAME = "transformer.h.0.mlp.c_fc.weight"


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path, dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """A base and a fine-tune as GPT-2 stores them, and the same turned round, as state dicts."""
    generator = torch.Generator().manual_seed(6)
    base = {NAME: torch.randn(10, 24, generator=generator)}
    tuned = {NAME: base[NAME] + 0.1 * torch.randn(10, 24, generator=generator)}
    for name, tensors in (("base", base), ("tuned", tuned)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
        save_file(tensors, tmp_path / name / "model.safetensors")
    turned = [{NAME: t[NAME].T.contiguous()} for t in (base, tuned)]
    return tmp_path / "base", tmp_path / "tuned", turned[0], turned[1]


def test_column_and_row_are_those_of_outputs_and_inputs(pair: tuple) -> None:
    base, tuned, base_turned, tuned_turned = pair
    (stored,) = measure_overlap(base, [tuned]).models[0].matrices
    (linear,) = measure_overlap(base_turned, [tuned_turned]).models[0].matrices
    assert stored.shape == linear.shape == (24, 10)
    assert stored.column.overlap == pytest.approx(linear.column.overlap, abs=1e-6)
    assert stored.row.overlap == pytest.approx(linear.row.overlap, abs=1e-6)
    assert stored.column.overlap != pytest.approx(stored.row.overlap, abs=1e-3)


def test_a_strip_takes_the_side_that_it_names(pair: tuple, tmp_path: Path) -> None:
    base, tuned, *_ = pair
    recipe = tmp_path / "r.yaml"
    recipe.write_text(
        f"merge_method: strip\nbase_model: {base}\nmodels: [{{model: {tuned}}}]\n"
        "parameters: {weight: 1, side: column, target: 0}\n"
    )
    run_merge(recipe, tmp_path / "out")
    assert FolderWeights(tmp_path / "out").infos[NAME].shape == (10, 24)
    (after,) = measure_overlap(base, [tmp_path / "out"]).models[0].matrices
    assert after.column.overlap is not None
    assert after.column.overlap < 1e-5
    assert after.row.overlap is not None
    assert after.row.overlap > 0.05


def test_factors_are_turned_like_their_product(pair: tuple, tmp_path: Path) -> None:
    base = pair[0]
    generator = torch.Generator().manual_seed(7)
    b, a = torch.randn(24, 2, generator=generator), torch.randn(2, 10, generator=generator)
    module = f"base_model.model.{NAME.removesuffix('.weight')}"
    (tmp_path / "lora").mkdir()
    save_file(
        {f"{module}.lora_A.weight": a, f"{module}.lora_B.weight": b},
        tmp_path / "lora" / "adapter_model.safetensors",
    )
    settings = {"peft_type": "LORA", "r": 2, "lora_alpha": 2, "fan_in_fan_out": True}
    (tmp_path / "lora" / "adapter_config.json").write_text(json.dumps(settings))
    dense = {NAME: FolderWeights(base).read(NAME) + (b @ a).T}
    (tmp_path / "dense").mkdir()
    (tmp_path / "dense" / "config.json").write_text(json.dumps({"model_type": "gpt2"}))
    save_file(
        {name: tensor.contiguous() for name, tensor in dense.items()},
        tmp_path / "dense" / "model.safetensors",
    )
    factored, product = measure_overlap(base, [tmp_path / "lora", tmp_path / "dense"]).models
    for side in ("column", "row", "both"):
        ours = getattr(factored.matrices[0], side).overlap
        assert ours == pytest.approx(getattr(product.matrices[0], side).overlap, abs=1e-4)
    (matrix,) = compare_models(base, [tmp_path / "lora", tmp_path / "dense"]).matrices
    assert matrix.shape == (24, 10)
    assert matrix.pairs[0].cosine == pytest.approx(1, abs=1e-5)
