"""What a merge writes in: config.json says it, and a strip is measured in every one of them."""

import json
from pathlib import Path

import pytest
import torch
from checkpoints import Folders, llama_tensors, moved, write_adapter, write_model
from safetensors.torch import load_file

from weightlens.checkpoint.layout import TensorInfo
from weightlens.merge.engine import run_merge
from weightlens.merge.preparing import commonest_dtype
from weightlens.merge.record import MergeReport
from weightlens.merge.resolution import parse_recipe
from weightlens.merge.state_dicts import merge_state_dicts

ADDED = """
merge_method: task_arithmetic
base_model: {base}
models:
- {{model: {tuned}, parameters: {{weight: 1.0}}}}
"""
STRIP = ADDED.replace("task_arithmetic", "strip") + "parameters: {{target: 0}}\n"


def run(folder: Path, recipe: str, **models: object) -> MergeReport:
    (folder / "recipe.yaml").write_text(recipe.format(**models))
    return run_merge(folder / "recipe.yaml", folder / "out")


def saved(folder: Path, dtype: torch.dtype, *, seed: int | None = None) -> Path:
    tensors = llama_tensors(0) if seed is None else moved(llama_tensors(0), seed)
    return write_model(folder, {name: tensor.to(dtype) for name, tensor in tensors.items()})


def assert_stripped(report: MergeReport) -> None:
    assert report.matrices
    for matrix in report.matrices:
        assert matrix.merged is not None and matrix.written is not None
        # what the sum with the base rounds, in float32
        assert matrix.written.column == pytest.approx(matrix.merged.column, abs=1e-6)
        assert matrix.written.row == pytest.approx(matrix.merged.row, abs=1e-6)


@pytest.mark.parametrize("source", ["full", "adapter"])
def test_a_strip_is_written_in_float64(tmp_path: Path, folders: Folders, source: str) -> None:
    tuned = getattr(folders, source)
    report = run(tmp_path, STRIP + "out_dtype: float64\n", base=folders.base, tuned=tuned)
    assert_stripped(report)
    written = load_file(tmp_path / "out" / "model.safetensors")
    assert {tensor.dtype for tensor in written.values()} == {torch.float64}


def test_a_strip_of_a_source_in_float64_stays_so(tmp_path: Path, folders: Folders) -> None:
    tuned = saved(tmp_path / "tuned", torch.float64, seed=1)
    assert_stripped(run(tmp_path, STRIP, base=folders.base, tuned=tuned))
    assert json.loads((tmp_path / "out" / "config.json").read_text())["dtype"] == "float64"


def test_a_strip_in_float64_is_that_in_float32_widened() -> None:
    base = llama_tensors(0)
    models = {"b": base, "t": moved(base, 1)}
    recipe = STRIP.format(base="b", tuned="t")
    narrow, first = merge_state_dicts(parse_recipe(recipe), models)
    wide, second = merge_state_dicts(parse_recipe(recipe + "out_dtype: float64\n"), models)
    assert all(torch.equal(wide[name].float(), tensor) for name, tensor in narrow.items())
    assert [m.written for m in first] == [m.written for m in second]


def test_a_stack_of_experts_is_stripped_in_float64() -> None:
    name = "model.layers.0.mlp.experts.gate_up_proj"
    generator = torch.Generator().manual_seed(4)
    base = torch.randn(3, 10, 12, generator=generator)
    tuned = base + 0.1 * torch.randn(3, 10, 12, generator=generator)
    recipe = parse_recipe(STRIP.format(base="b", tuned="t") + "out_dtype: float64\n")
    out, records = merge_state_dicts(recipe, {"b": {name: base}, "t": {name: tuned}})
    assert out[name].dtype == torch.float64
    assert [record.expert for record in records] == [0, 1, 2]


def test_an_adapter_is_stripped_in_float64(tmp_path: Path, folders: Folders) -> None:
    other = write_adapter(tmp_path / "other", llama_tensors(0), seed=9)
    extra = f"- {{{{model: {other}, parameters: {{{{weight: 1.0}}}}}}}}\n"
    recipe = STRIP.replace("parameters: {{target", f"{extra}parameters: {{{{target")
    recipe += "out_dtype: float64\noutput: adapter\n"
    assert_stripped(run(tmp_path, recipe, base=folders.base, tuned=folders.adapter))


@pytest.mark.parametrize(
    ("dtypes", "extra", "expected"),
    [
        ((torch.bfloat16, torch.float32), "", "float32"),
        ((torch.float32, torch.bfloat16), "", "float32"),
        ((torch.bfloat16, torch.bfloat16), "", "bfloat16"),
        ((torch.bfloat16, torch.float32), "dtype: float16\n", "float16"),
        ((torch.bfloat16, torch.float32), "out_dtype: bfloat16\n", "bfloat16"),
    ],
)
def test_the_config_names_the_dtype_of_the_weights(
    tmp_path: Path, dtypes: tuple[torch.dtype, torch.dtype], extra: str, expected: str
) -> None:
    """The base's says bfloat16 all along; who loads by it would round."""
    base, tuned = saved(tmp_path / "base", dtypes[0]), saved(tmp_path / "t", dtypes[1], seed=1)
    config = json.loads((base / "config.json").read_text()) | {"dtype": "bfloat16"}
    (base / "config.json").write_text(json.dumps(config))
    run(tmp_path, ADDED + extra, base=base, tuned=tuned)
    written = load_file(tmp_path / "out" / "model.safetensors")
    assert {str(tensor.dtype) for tensor in written.values()} == {f"torch.{expected}"}
    assert json.loads((tmp_path / "out" / "config.json").read_text())["dtype"] == expected


def test_a_config_that_is_right_already_is_not_touched(tmp_path: Path, folders: Folders) -> None:
    text = (folders.base / "config.json").read_text()
    run(tmp_path, ADDED, base=folders.base, tuned=folders.full)
    assert (tmp_path / "out" / "config.json").read_text() == text


def test_the_commonest_dtype_is_that_of_most_entries() -> None:
    """Ten tensors of one entry against one of 100; integers and float8 name no dtype of a model."""
    few = [TensorInfo((1,), torch.float32)] * 10
    many = TensorInfo((10, 10), torch.float16)
    others = [TensorInfo((99, 99), dtype) for dtype in (torch.int64, torch.float8_e4m3fn)]
    assert commonest_dtype([*few, many, *others]) == torch.float16
    assert commonest_dtype([many, *few[:1], TensorInfo((100,), torch.bfloat16)]) == torch.float16
    assert commonest_dtype(others) is None
