"""Whole merges on tiny checkpoints, with their values checked."""

import json
from pathlib import Path

import pytest
import torch
from checkpoints import (
    Folders,
    llama_tensors,
    matrices,
    moved,
    tiny_llama,
    write_adapter,
    write_model,
)
from safetensors import safe_open
from safetensors.torch import load_file

from weightlens.checkpoint.adapter import Adapter
from weightlens.checkpoint.read import FolderWeights
from weightlens.errors import InputError, NonFiniteTensor, OutputError
from weightlens.merge import running
from weightlens.merge.engine import run_merge
from weightlens.merge.record import MergeReport, summarise_strips
from weightlens.merge.resolution import parse_recipe
from weightlens.merge.state_dicts import merge_state_dicts

SIDES = ("column", "row", "both", "either")


def merged(tmp_path: Path, recipe: str, name: str = "out") -> tuple[dict, MergeReport]:
    file = tmp_path / f"{name}.yaml"
    file.write_text(recipe)
    report = run_merge(file, tmp_path / name)
    return stored_tensors(tmp_path / name), report


def stored_tensors(folder: Path) -> dict[str, torch.Tensor]:
    weights = FolderWeights(folder)
    return {name: weights.stored(name) for name in weights.infos}


def task_arithmetic(folders: Folders, *sources: Path, extra: str = "", weight: float = 0.5) -> str:
    models = "\n".join(f"- {{model: {s}, parameters: {{weight: {weight}}}}}" for s in sources)
    return f"merge_method: task_arithmetic\nbase_model: {folders.base}\nmodels:\n{models}\n{extra}"


def test_linear_is_the_weighted_mean(tmp_path: Path, folders: Folders) -> None:
    recipe = f"""
merge_method: linear
models:
- {{model: {folders.base}, parameters: {{weight: 1}}}}
- {{model: {folders.full}, parameters: {{weight: 3}}}}
"""
    out, report = merged(tmp_path, recipe)
    a, b = (
        load_file(folders.base / "model.safetensors"),
        load_file(folders.full / "model.safetensors"),
    )
    for name, tensor in out.items():
        assert torch.allclose(tensor, 0.25 * a[name] + 0.75 * b[name], atol=1e-6), name
    assert report.matrices == []


def test_linear_without_normalising_is_the_plain_sum(tmp_path: Path, folders: Folders) -> None:
    recipe = f"""
merge_method: linear
models:
- {{model: {folders.base}, parameters: {{weight: 1}}}}
- {{model: {folders.full}, parameters: {{weight: 1}}}}
parameters: {{normalize: false}}
"""
    out, _ = merged(tmp_path, recipe)
    a, b = (
        load_file(folders.base / "model.safetensors"),
        load_file(folders.full / "model.safetensors"),
    )
    assert all(torch.allclose(out[name], a[name] + b[name], atol=1e-6) for name in a)


def test_task_arithmetic_adds_weighted_deltas(tmp_path: Path, folders: Folders) -> None:
    """w = w_0 + λ (½ Δ_1 + ½ s B A), the adapter's product taken in NumPy's float64."""
    extra = "parameters: {lambda: 0.8}"
    out, _ = merged(tmp_path, task_arithmetic(folders, folders.full, folders.adapter, extra=extra))
    base = load_file(folders.base / "model.safetensors")
    full = load_file(folders.full / "model.safetensors")
    factors = load_file(folders.adapter / "adapter_model.safetensors")
    for name, w in base.items():
        expected = w.double() + 0.8 * 0.5 * (full[name].double() - w.double())
        at = f"base_model.model.{name.removesuffix('.weight')}"
        if f"{at}.lora_A.weight" in factors:
            product = (
                factors[f"{at}.lora_B.weight"].double() @ factors[f"{at}.lora_A.weight"].double()
            )
            expected += 0.8 * 0.5 * 2.0 * product  # alpha / r = 8 / 4
        assert torch.allclose(out[name].double(), expected, atol=1e-6), name


def test_weight_0_gives_the_base_back_bit_by_bit(tmp_path: Path, folders: Folders) -> None:
    out, _ = merged(tmp_path, task_arithmetic(folders, folders.full, folders.adapter, weight=0))
    base = load_file(folders.base / "model.safetensors")
    assert all(torch.equal(out[name], base[name]) for name in base)


def test_the_order_of_sources_changes_nothing_but_rounding(
    tmp_path: Path, folders: Folders
) -> None:
    there, _ = merged(tmp_path, task_arithmetic(folders, folders.full, folders.adapter), "there")
    back, _ = merged(tmp_path, task_arithmetic(folders, folders.adapter, folders.full), "back")
    assert all(torch.allclose(there[n], back[n], atol=1e-6) for n in there)


def test_the_block_size_changes_no_bit(
    tmp_path: Path, folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = task_arithmetic(folders, folders.full, weight=0.37)
    whole, _ = merged(tmp_path, recipe, "whole")
    monkeypatch.setattr(running, "BLOCK", 37)
    blocks, _ = merged(tmp_path, recipe, "blocks")
    assert all(torch.equal(whole[n], blocks[n]) for n in whole)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("source", ["full", "adapter"])
def test_strength_0_is_exactly_task_arithmetic(
    tmp_path: Path, folders: Folders, side: str, source: str
) -> None:
    tuned = getattr(folders, source)
    plain, _ = merged(tmp_path, task_arithmetic(folders, tuned), "plain")
    extra = f"transforms: [{{strip: {{side: {side}, strength: 0}}}}]"
    stripped, report = merged(tmp_path, task_arithmetic(folders, tuned, extra=extra), "stripped")
    assert all(torch.equal(plain[n], stripped[n]) for n in plain)
    assert all(s.untouched for m in report.matrices for s in m.strips)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("source", ["full", "adapter"])
def test_target_0_leaves_none_and_rounding_brings_some_back(
    tmp_path: Path, folders: Folders, side: str, source: str
) -> None:
    extra = f"transforms: [{{strip: {{side: {side}, target: 0}}}}]\nout_dtype: bfloat16"
    recipe = task_arithmetic(folders, getattr(folders, source), extra=extra)
    out, report = merged(tmp_path, recipe)
    assert len(report.matrices) == len(matrices(llama_tensors(0)))
    for matrix in report.matrices:
        assert matrix.merged is not None
        assert matrix.written is not None
        assert getattr(matrix.merged, side) < 1e-5
        assert getattr(matrix.written, side) > getattr(matrix.merged, side)
    assert all(t.dtype == torch.bfloat16 for t in out.values())


def test_written_overlap_is_that_of_the_file(tmp_path: Path, folders: Folders) -> None:
    """The record's last column, measured again from the output by NumPy."""
    from reference import overlap_by_svd

    extra = "transforms: [{strip: {side: column, target: 0}}]\nout_dtype: bfloat16"
    out, report = merged(tmp_path, task_arithmetic(folders, folders.full, extra=extra))
    base = load_file(folders.base / "model.safetensors")
    for matrix in report.matrices:
        w = base[matrix.name].double().numpy()
        delta = out[matrix.name].double().numpy() - w
        expected = overlap_by_svd(w, delta, 0.5)
        assert matrix.written is not None
        assert matrix.written.column == pytest.approx(expected.column, abs=1e-4)
        assert matrix.written.row == pytest.approx(expected.row, abs=1e-4)


def test_the_short_form_is_the_transform(tmp_path: Path, folders: Folders) -> None:
    extra = "transforms: [{strip: {side: row, rank: 3, target: chance}}]"
    long, _ = merged(tmp_path, task_arithmetic(folders, folders.full, extra=extra), "long")
    short_recipe = f"""
merge_method: strip
base_model: {folders.base}
models:
- {{model: {folders.full}, parameters: {{weight: 0.5}}}}
parameters: {{side: row, rank: 3, target: chance}}
"""
    short, report = merged(tmp_path, short_recipe, "short")
    assert all(torch.equal(long[n], short[n]) for n in long)
    assert {s.rank for m in report.matrices for s in m.strips} == {3}


def test_random_subspaces_follow_the_seed(folders: Folders) -> None:
    recipe = parse_recipe(
        "merge_method: strip\nbase_model: b\nmodels: [{model: t, parameters: {weight: 1}}]\n"
        "parameters: {side: column, target: 0, subspace: random}"
    )
    models = {"b": llama_tensors(0), "t": moved(llama_tensors(0), 1)}
    first, records = merge_state_dicts(recipe, models, seed=1)
    again, _ = merge_state_dicts(recipe, models, seed=1)
    other, _ = merge_state_dicts(recipe, models, seed=2)
    name = matrices(models["b"])[0]
    assert torch.equal(first[name], again[name])
    assert not torch.equal(first[name], other[name])
    assert all(s.after is not None and s.after.column < 1e-5 for m in records for s in m.strips)


def test_memory_and_disk_give_the_same_tensors(tmp_path: Path, folders: Folders) -> None:
    text = task_arithmetic(folders, folders.full, extra="transforms: [{strip: {strength: 1}}]")
    disk, report = merged(tmp_path, text)
    state = {str(f): load_file(f / "model.safetensors") for f in (folders.base, folders.full)}
    memory, records = merge_state_dicts(parse_recipe(text), state)
    assert all(torch.equal(disk[n], memory[n]) for n in disk)
    assert records == report.matrices


def test_summary_counts_what_was_untouched(tmp_path: Path, folders: Folders) -> None:
    extra = "transforms: [{strip: {side: column, target: chance}}]"
    _, report = merged(tmp_path, task_arithmetic(folders, folders.full, extra=extra))
    (summary,) = summarise_strips(report)
    untouched = sum(s.untouched for m in report.matrices for s in m.strips)
    assert summary.untouched == untouched
    assert 0 < untouched < len(report.matrices)  # a random delta is above chance half the time


def test_sharded_sources_and_tied_embeddings_merge(tmp_path: Path) -> None:
    base = {n: t for n, t in llama_tensors(0).items() if n != "lm_head.weight"}
    folders = Folders(
        write_model(tmp_path / "b", base, shards=3),
        write_model(tmp_path / "f", moved(base, 1), shards=2),
        write_adapter(tmp_path / "a", base),
    )
    out, _ = merged(tmp_path, task_arithmetic(folders, folders.full, folders.adapter))
    assert set(out) == set(base)


def test_a_stack_of_experts_is_stripped_expert_by_expert(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(4)
    name = "model.layers.0.mlp.experts.gate_up_proj"
    base = {name: torch.randn(3, 10, 12, generator=generator)}
    tuned = {name: base[name] + 0.1 * torch.randn(3, 10, 12, generator=generator)}
    folders = Folders(
        write_model(tmp_path / "b", base), write_model(tmp_path / "t", tuned), tmp_path
    )
    extra = "transforms: [{strip: {side: either, target: 0}}]"
    _, report = merged(tmp_path, task_arithmetic(folders, folders.full, extra=extra))
    assert [m.expert for m in report.matrices] == [0, 1, 2]
    assert all(m.merged is not None and m.merged.either < 1e-5 for m in report.matrices)


def test_the_result_loads_in_transformers_and_generates(tmp_path: Path, folders: Folders) -> None:
    from transformers import AutoModelForCausalLM

    merged(tmp_path, task_arithmetic(folders, folders.full, folders.adapter))
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    said = model.generate(torch.tensor([[3, 4, 5]]), max_new_tokens=4, do_sample=False)
    assert said.shape[1] > 3
    stored = load_file(tmp_path / "out" / "model.safetensors")
    assert torch.equal(model.state_dict()["lm_head.weight"], stored["lm_head.weight"])


def test_companions_come_from_the_base_and_the_dtype_is_set(
    tmp_path: Path, folders: Folders
) -> None:
    for name in ("tokenizer.json", "chat_template.jinja", "special_tokens_map.json"):
        (folders.base / name).write_text("{}")
    (folders.full / "tokenizer_of_the_other.json").write_text("{}")
    merged(tmp_path, task_arithmetic(folders, folders.full, extra="out_dtype: bfloat16"))
    names = {f.name for f in (tmp_path / "out").iterdir()}
    assert names == {
        "model.safetensors", "config.json", "generation_config.json", "tokenizer.json",
        "chat_template.jinja", "special_tokens_map.json", "weightlens.json",
    }  # fmt: skip
    assert json.loads((tmp_path / "out" / "config.json").read_text())["dtype"] == "bfloat16"
    with safe_open(tmp_path / "out" / "model.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt"}


def test_provenance_names_sources_by_their_content(tmp_path: Path, folders: Folders) -> None:
    text = task_arithmetic(folders, folders.full)
    merged(tmp_path, text)
    record = json.loads((tmp_path / "out" / "weightlens.json").read_text())
    assert record["schema"] == "weightlens.merge/1"
    assert record["recipe"] == text
    assert record["base"]["model"] == str(folders.base)
    assert len(record["sources"][0]["hash"]) == 32
    assert record["base"]["hash"] != record["sources"][0]["hash"]


def test_inputs_are_rounded_to_dtype_as_they_are_read(tmp_path: Path, folders: Folders) -> None:
    extra = "dtype: bfloat16\nout_dtype: float32"
    out, _ = merged(tmp_path, task_arithmetic(folders, folders.full, weight=1, extra=extra))
    full = load_file(folders.full / "model.safetensors")
    assert all(torch.allclose(out[n], full[n].bfloat16().float(), atol=1e-7) for n in out)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_stops_the_merge_and_leaves_nothing(
    tmp_path: Path, folders: Folders, value: float
) -> None:
    tensors = load_file(folders.full / "model.safetensors")
    tensors["model.layers.1.mlp.up_proj.weight"][2, 3] = value
    write_model(folders.full, tensors)
    file = tmp_path / "r.yaml"
    file.write_text(task_arithmetic(folders, folders.full))
    with pytest.raises(NonFiniteTensor, match=r"model\.layers\.1\.mlp\.up_proj\.weight"):
        run_merge(file, tmp_path / "out")
    assert {p.name for p in tmp_path.iterdir()} == {"r.yaml"}


def test_an_output_that_exists_is_kept_unless_told_otherwise(
    tmp_path: Path, folders: Folders
) -> None:
    file = tmp_path / "r.yaml"
    file.write_text(task_arithmetic(folders, folders.full))
    out = tmp_path / "out"
    out.mkdir()
    run_merge(file, out)  # an empty folder is accepted
    (out / "mine.txt").write_text("keep")
    with pytest.raises(OutputError, match="not empty"):
        run_merge(file, out)
    assert (out / "mine.txt").exists()
    run_merge(file, out, overwrite=True)
    assert not (out / "mine.txt").exists()
    assert not (tmp_path / "out.replaced").exists()


def test_a_partial_folder_that_is_not_ours_is_not_touched(tmp_path: Path, folders: Folders) -> None:
    (tmp_path / "out.partial").mkdir()
    (tmp_path / "out.partial" / "thesis.tex").write_text("years of work")
    file = tmp_path / "r.yaml"
    file.write_text(task_arithmetic(folders, folders.full))
    with pytest.raises(OutputError, match="not ours"):
        run_merge(file, tmp_path / "out")
    assert (tmp_path / "out.partial" / "thesis.tex").exists()


def test_a_rank_above_a_matrix_names_the_tensor(folders: Folders) -> None:
    recipe = parse_recipe(
        "merge_method: strip\nbase_model: b\nmodels: [{model: t, parameters: {weight: 1}}]\n"
        "parameters: {rank: 13, strength: 1}"
    )
    models = {"b": llama_tensors(0), "t": moved(llama_tensors(0), 1)}
    with pytest.raises(InputError, match=r"k_proj.*rank 13 exceeds min\(m, n\) = 12"):
        merge_state_dicts(recipe, models)


def test_an_adapter_merges_like_peft_merges_it(tmp_path: Path) -> None:
    """PEFT's own merge_and_unload is the independent implementation."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    folders = tiny_llama(tmp_path / "models")
    pattern = {"use_rslora": True, "alpha_pattern": {"q_proj": 3.0}, "task_type": "CAUSAL_LM",
               "target_modules": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj",
                                  "down_proj"]}  # fmt: skip
    adapter = write_adapter(tmp_path / "adapter", llama_tensors(0), config=pattern)
    out, _ = merged(tmp_path, task_arithmetic(folders, adapter, weight=1))
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(folders.base), adapter)
    theirs = model.merge_and_unload().state_dict()
    assert Adapter(adapter).settings.rslora
    assert all(torch.allclose(out[n], theirs[n], atol=1e-6) for n in out)


@pytest.mark.parametrize("says_so", [False, True])
def test_a_head_of_its_own_is_not_lost_beside_a_tied_base(tmp_path: Path, says_so: bool) -> None:
    """says_so: the base stores the copy too, and only its config ties the two."""
    own = llama_tensors(0)
    shared = own["model.embed_tokens.weight"]
    copied = own | {"lm_head.weight": shared.clone()}
    tied = copied if says_so else {n: t for n, t in own.items() if n != "lm_head.weight"}
    base = write_model(tmp_path / "tied", tied)
    config = json.loads((base / "config.json").read_text()) | {"tie_word_embeddings": True}
    (base / "config.json").write_text(json.dumps(config))
    folders = Folders(base, write_model(tmp_path / "own", own), tmp_path)
    out, _ = merged(tmp_path, task_arithmetic(folders, folders.full, weight=0.5))
    assert torch.allclose(out["lm_head.weight"], (shared + own["lm_head.weight"]) / 2)
    written = json.loads((tmp_path / "out" / "config.json").read_text())
    assert written["tie_word_embeddings"] is False


def test_a_copy_of_the_embeddings_does_not_untie_them(tmp_path: Path) -> None:
    copied = llama_tensors(0)
    copied["lm_head.weight"] = copied["model.embed_tokens.weight"].clone()
    tied = {n: t for n, t in copied.items() if n != "lm_head.weight"}
    folders = Folders(
        write_model(tmp_path / "tied", tied), write_model(tmp_path / "copy", copied), tmp_path
    )
    out, _ = merged(tmp_path, task_arithmetic(folders, folders.full))
    assert "lm_head.weight" not in out


def test_numbers_beyond_the_output_type_stop_the_merge(tmp_path: Path) -> None:
    base = llama_tensors(0)
    base["model.norm.weight"] = torch.full((24,), 1e5)
    folders = Folders(
        write_model(tmp_path / "b", base), write_model(tmp_path / "t", moved(base, 1)), tmp_path
    )
    with pytest.raises(NonFiniteTensor, match=r"model\.norm\.weight.*float16"):
        merged(tmp_path, task_arithmetic(folders, folders.full, extra="out_dtype: float16"))
    with pytest.raises(NonFiniteTensor, match=r"beyond torch\.float16"):
        merged(tmp_path, task_arithmetic(folders, folders.full, extra="dtype: float16"))
    assert not (tmp_path / "out").exists()


def test_integers_are_copied_and_empty_tensors_survive(tmp_path: Path) -> None:
    base = llama_tensors(0) | {"ids": torch.arange(4), "none": torch.zeros(0, 3)}
    recipe = "merge_method: linear\nmodels: [{model: b}]\nparameters: {weight: 1}"
    out, _ = merge_state_dicts(parse_recipe(recipe), {"b": base})
    assert torch.equal(out["ids"], base["ids"])
    assert out["none"].shape == (0, 3)
