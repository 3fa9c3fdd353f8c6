"""Adapters merged to an adapter, against the dense merge: the same recipe with `output: model`,
which multiplies every delta out."""

from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoints import Folders, llama_tensors, matrices, write_adapter
from merged_adapters import (
    ONE_EACH,
    SUM,
    TASK_ARITHMETIC,
    config_of,
    dense,
    merged,
    merged_by_peft,
    on_base,
    two_adapters,
)
from safetensors.torch import load_file, save_file

from weightlens.checkpoint.adapter import Adapter
from weightlens.checkpoint.read import FolderWeights
from weightlens.errors import OutputError
from weightlens.merge.engine import run_merge
from weightlens.merge.foresight import plan_merge
from weightlens.merge.record import MergeReport
from weightlens.merge.resolution import parse_recipe

Q = "model.layers.0.self_attn.q_proj.weight"
EMBEDDING = "model.embed_tokens.weight"


@pytest.fixture
def places(folders: Folders, tmp_path: Path) -> dict[str, Path]:
    """What recipes here call their models: a and b are adapters of different rank and scale."""
    return two_adapters(folders, tmp_path)


RECIPES = {
    "sum": SUM,
    "weights, lambda and normalize": (
        "merge_method: task_arithmetic\nbase_model: {base}\n"
        "parameters: {{lambda: 0.7, normalize: true}}\nmodels:\n"
        "- {{model: {a}, parameters: {{weight: 0.5}}}}\n"
        "- {{model: {b}, parameters: {{weight: -0.2}}}}\n"
    ),
    "linear": (
        "merge_method: linear\nbase_model: {base}\nmodels:\n"
        "- {{model: {base}, parameters: {{weight: 1}}}}\n"
        "- {{model: {a}, parameters: {{weight: 2}}}}\n"
        "- {{model: {base}+{b}, parameters: {{weight: 3}}}}\n"
    ),
    "sums as sources": (
        TASK_ARITHMETIC + "models:\n"
        "- {{model: {a}+{b}, parameters: {{weight: 0.25}}}}\n"
        "- {{model: {base}+{b}, parameters: {{weight: 0.5}}}}\n"
    ),
    "filters and gradients": (
        TASK_ARITHMETIC + "models:\n"
        "- model: {a}\n  parameters:\n    weight:\n"
        "    - {{filter: self_attn, value: [0, 1]}}\n    - {{value: 0.5}}\n"
        "- {{model: {b}, parameters: {{weight: [0.3, 0.6]}}}}\n"
    ),
    "strip": (
        "merge_method: strip\nbase_model: {base}\nparameters: {{side: column, target: 0.01}}\n"
        "models:\n" + ONE_EACH
    ),
    "strip twice, then a sum": (
        "merge_method: task_arithmetic\nbase_model: {base}\n"
        "transforms:\n- strip: {{side: either, strength: 0.5, rank: 3}}\n"
        "- strip: {{side: row, strength: 1, rank: 2, subspace: random}}\nmodels:\n" + ONE_EACH
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", RECIPES)
def test_the_factors_are_those_of_the_dense_merge(
    kind: str, places: dict[str, Path], tmp_path: Path
) -> None:
    merged(RECIPES[kind], places, tmp_path / "out")
    expected = dense(RECIPES[kind], places, tmp_path / "dense")
    found = on_base(tmp_path / "out", places["base"])
    assert set(found) == set(expected)
    for name, tensor in expected.items():
        assert torch.allclose(found[name], tensor, rtol=0, atol=1e-6), name
    assert set(Adapter(tmp_path / "out").names) == set(matrices(llama_tensors(0)))


def test_peft_makes_of_it_the_base_and_the_sum(places: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    merged(RECIPES["filters and gradients"], places, out)
    expected = dense(RECIPES["filters and gradients"], places, tmp_path / "dense")
    by_peft = merged_by_peft(places["base"], out)
    assert set(by_peft) == set(expected)
    for name, tensor in expected.items():
        assert torch.allclose(by_peft[name], tensor, rtol=0, atol=1e-6), name


def test_ranks_add_up_and_filters_take_from_them(places: dict[str, Path], tmp_path: Path) -> None:
    """4 + 3 columns; where a weight is 0, those of the other source."""
    report = merged(RECIPES["filters and gradients"], places, tmp_path / "out")
    adapter = Adapter(tmp_path / "out")
    ranks = {name: adapter.factored(name).rank for name in adapter.names}
    assert {r for n, r in ranks.items() if "layers.0.self_attn" in n} == {3}
    assert {r for n, r in ranks.items() if "layers.0.self_attn" not in n} == {7}
    assert report.tensors == 2 * len(ranks)
    config = config_of(tmp_path / "out")
    assert (config["r"], config["lora_alpha"]) == (7, 7)
    assert set(config["rank_pattern"].values()) == {3}


def test_an_adapter_and_itself_at_a_half_each_is_the_adapter(
    places: dict[str, Path], tmp_path: Path
) -> None:
    halves = (
        "merge_method: linear\nbase_model: {base}\nmodels:\n"
        "- {{model: {base}, parameters: {{weight: 0}}}}\n"
        "- {{model: {a}, parameters: {{weight: 0.5}}}}\n"
        "- {{model: {base}+{a}, parameters: {{weight: 0.5}}}}\n"
    )
    merged(halves, places, tmp_path / "out")
    before, after = Adapter(places["a"]), Adapter(tmp_path / "out")
    assert set(before.names) == set(after.names)
    for name in before.names:
        assert after.factored(name).rank == before.factored(name).rank == 4
        close = torch.allclose(after.factored(name).dense(), before.factored(name).dense(),
                               rtol=0, atol=1e-7)  # fmt: skip
        assert close, name


def test_the_output_tells_of_itself(places: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    told: list[tuple[int, int, str]] = []
    report = merged(RECIPES["strip"], places, out, verify=True, seed=7,
                    progress=lambda *state: told.append(state))  # fmt: skip
    assert sorted(file.name for file in out.iterdir()) == [
        "adapter_config.json", "adapter_model.safetensors", "weightlens.json"]  # fmt: skip
    assert MergeReport.model_validate_json((out / "weightlens.json").read_text()) == report
    assert [s.model for s in report.sources] == [str(places["a"]), str(places["b"])]
    assert report.base is not None
    assert all(s.hash for s in [report.base, *report.sources])
    assert (report.seed, report.recipe.split("\n")[0]) == (7, "output: adapter")
    assert config_of(out)["base_model_name_or_path"] == str(places["base"])
    assert told[0][0] == 0
    assert told[-1][0] == told[-1][1] >= report.bytes
    tensors = load_file(out / "adapter_model.safetensors")
    assert report.bytes == sum(t.nbytes for t in tensors.values())


def test_the_plan_counts_factors(places: dict[str, Path], tmp_path: Path) -> None:
    """14 matrices: 4 + 3 columns of m + n numbers each, float32, as many read as written."""
    recipe = parse_recipe(f"output: adapter\n{SUM}".format(**places))
    (plan,) = plan_merge(recipe, tmp_path / "out")
    base = load_file(places["base"] / "model.safetensors")
    columns = sum(sum(base[name].shape) for name in matrices(base))
    assert plan.bytes_written == plan.bytes_read == 7 * 4 * columns
    assert (plan.tensors, plan.shards, plan.kinds) == (28, 1, {"factored": 14, "whole": 0})
    assert run_merge(recipe, tmp_path / "out").bytes == plan.bytes_written
    strip = parse_recipe("output: adapter\n" + RECIPES["strip"].format(**places))
    numbers = sum(base[name].numel() for name in matrices(base))
    assert plan_merge(strip)[0].bytes_read == 7 * 4 * columns + 4 * numbers


@pytest.mark.parametrize("kind", ["sum", "strip twice, then a sum"])
def test_two_runs_give_the_same_bytes(kind: str, places: dict[str, Path], tmp_path: Path) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        merged(RECIPES[kind], places, folder, seed=3)
    for file in ("adapter_model.safetensors", "adapter_config.json", "weightlens.json"):
        one, two = ((folder / file).read_bytes() for folder in folders)
        assert one == two, file


def test_a_strip_is_recorded_and_stays_factored(places: dict[str, Path], tmp_path: Path) -> None:
    strip = RECIPES["strip"].replace("0.01", "0")
    report = merged(strip, places, tmp_path / "out")
    adapter = Adapter(tmp_path / "out")
    order = [name for name in FolderWeights(places["base"]).infos if name in adapter.names]
    assert [matrix.name for matrix in report.matrices] == order
    for matrix in report.matrices:
        assert [s.source for s in matrix.strips] == [str(places["a"]), str(places["b"])]
        for record in matrix.strips:
            assert record.before is not None and record.after is not None
            assert record.before.column > 0.05 > 1e-6 > record.after.column
        assert matrix.merged is not None and matrix.written is not None
        # rounding of the base, which brings overlap back in a merged model, has no part in it
        assert matrix.written.column < 1e-6
        norm = float(torch.linalg.vector_norm(adapter.factored(matrix.name).dense()))
        assert matrix.delta_norm == pytest.approx(norm, rel=1e-5)
        assert adapter.factored(matrix.name).rank <= 7


def test_the_records_of_a_strip_are_those_of_the_merged_model(
    places: dict[str, Path], tmp_path: Path
) -> None:
    text = RECIPES["strip twice, then a sum"]
    ours = merged(text, places, tmp_path / "out", seed=5).matrices
    theirs = run_merge(parse_recipe(text.format(**places)), tmp_path / "dense", seed=5).matrices
    for one, other in zip(ours, theirs, strict=True):
        assert one.name == other.name
        assert one.delta_norm == pytest.approx(other.delta_norm, rel=1e-5)
        assert one.merged is not None and other.merged is not None
        assert one.merged.column == pytest.approx(other.merged.column, abs=1e-5)
        assert [s.factor for s in one.strips] == pytest.approx([s.factor for s in other.strips])


def test_without_a_strip_no_weight_of_the_base_is_read(
    places: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill = FolderWeights._fill

    def told(self: FolderWeights, *where: Any) -> None:
        assert self.folder != places["base"]
        fill(self, *where)

    monkeypatch.setattr(FolderWeights, "_fill", told)
    merged(RECIPES["linear"], places, tmp_path / "out")


def test_it_is_written_in_the_dtype_of_the_recipe(places: dict[str, Path], tmp_path: Path) -> None:
    """And what is written is measured as written: rounded, bfloat16 has 8 bits."""
    text = "dtype: float32\nout_dtype: bfloat16\n" + RECIPES["strip"].replace("0.01", "0")
    report = merged(text, places, tmp_path / "out")
    tensors = load_file(tmp_path / "out" / "adapter_model.safetensors")
    assert {t.dtype for t in tensors.values()} == {torch.bfloat16}
    for matrix in report.matrices:
        assert matrix.merged is not None and matrix.written is not None
        assert matrix.merged.column < 1e-10 < matrix.written.column < 1e-4


def test_a_matrix_that_a_source_replaces_is_stripped_and_saved_whole(
    places: dict[str, Path], tmp_path: Path
) -> None:
    replaced = tmp_path / "replaced"
    base = llama_tensors(0)
    write_adapter(replaced, base, rank=2, seed=4)
    tensors = load_file(replaced / "adapter_model.safetensors")
    at = f"base_model.model.{Q.removesuffix('.weight')}"
    for side in "AB":
        del tensors[f"{at}.lora_{side}.weight"]
    save_file(tensors | {f"{at}.weight": base[Q] + 0.05}, replaced / "adapter_model.safetensors")
    text = RECIPES["strip"].replace("{b}", str(replaced))
    report = merged(text, places, tmp_path / "out")
    expected = dense(text, places, tmp_path / "dense")
    found = on_base(tmp_path / "out", places["base"])
    for name, tensor in expected.items():
        assert torch.allclose(found[name], tensor, rtol=0, atol=1e-6), name
    assert list(Adapter(tmp_path / "out").replaced) == [Q]
    assert sorted(m.name for m in report.matrices) == sorted(matrices(base))
    assert [m.name for m in report.matrices].index(Q) > 0  # in its place among the others


def test_embeddings_are_known_by_their_factors(places: dict[str, Path], tmp_path: Path) -> None:
    """PEFT calls them so wherever nn.Embedding stands, whatever it is called."""
    base = llama_tensors(0)
    base["model.table.weight"] = base.pop(EMBEDDING)
    save_file(base, places["base"] / "model.safetensors", metadata={"format": "pt"})
    tensors = load_file(places["b"] / "adapter_model.safetensors")
    at = "base_model.model.model.table.lora_embedding_"
    tensors |= {f"{at}A": torch.ones(3, 32), f"{at}B": torch.ones(24, 3)}
    save_file(tensors, places["b"] / "adapter_model.safetensors", metadata={"format": "pt"})
    merged(RECIPES["sum"], places, tmp_path / "out")
    written = load_file(tmp_path / "out" / "adapter_model.safetensors")
    assert written[f"{at}A"].shape == (1, 32)  # three directions that are one
    # scale alpha / sqrt(r) = 2 / sqrt 3, three columns of ones: 2 sqrt 3 each entry
    product = Adapter(tmp_path / "out").factored("model.table.weight").dense()
    assert torch.allclose(product, torch.full((32, 24), 2 * 3**0.5))


def test_an_earlier_merge_is_replaced_and_a_source_never(
    places: dict[str, Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    merged(RECIPES["sum"], places, out)
    with pytest.raises(OutputError, match="overwrite"):
        merged(RECIPES["linear"], places, out)
    merged(RECIPES["linear"], places, out, overwrite=True)
    again = RECIPES["sum"].replace("{b}", str(out))
    with pytest.raises(OutputError, match="holds the source"):
        merged(again, places, out, overwrite=True)
    merged(again, places, tmp_path / "next")  # an adapter of this program is one like others
