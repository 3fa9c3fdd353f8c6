"""A merge from its record alone: the same bytes, or what differs and why."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from checkpoints import Folders
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner
from worded import added, linear, worded, words

from weightlens.checkpoint.checksums import checksums_of
from weightlens.errors import CheckFailed, InputError, ModelNotFound, OutputError
from weightlens.merge.engine import run_merge
from weightlens.merge.extract import extract_adapter
from weightlens.merge.options import Options
from weightlens.merge.rebuilding import rebuild_merge
from weightlens.merge.verifying import differences, verify_folder
from weightlens_cli.main import app

WEIGHTS = "model.safetensors"


def dare(folders: Folders, *, more: str = "") -> str:
    return (
        f"merge_method: dare_linear\nbase_model: {folders.base}\nmodels:\n"
        f"- {{model: {folders.full}, parameters: {{weight: 1.0, density: 0.5}}}}\n"
        f"- {{model: {folders.adapter}, parameters: {{weight: 0.4, density: 0.5}}}}\n"
        f"dtype: float32\nout_dtype: bfloat16\n{more}"
    )


@pytest.fixture
def merged(tmp_path: Path, folders: Folders) -> Path:
    """A random merge of two fine-tunes, with a seed that is not the usual one."""
    (tmp_path / "recipe.yaml").write_text(dare(folders))
    run_merge(tmp_path / "recipe.yaml", tmp_path / "out", seed=7)
    return tmp_path / "out"


def kept(out: Path, at: Path) -> Path:
    """Only the record of a merge, as someone else has it."""
    at.mkdir()
    return Path(shutil.copy(out / "weightlens.json", at))


def test_a_record_alone_gives_the_same_bytes(tmp_path: Path, merged: Path) -> None:
    again = tmp_path / "again"
    rebuild_merge(kept(merged, tmp_path / "kept"), again)
    assert (again / WEIGHTS).read_bytes() == (merged / WEIGHTS).read_bytes()


def test_several_recipes_and_a_strip_come_out_the_same(tmp_path: Path) -> None:
    for seed, name in enumerate("abc", start=1):
        worded(tmp_path / name, seed, words(32))
    first = linear(tmp_path / "a", tmp_path / "b", name="first")
    strip = {"strip": {"side": "row", "energy": 0.5, "target": 0}}
    second = added(tmp_path / "c", "first", transforms=[strip])
    (tmp_path / "two.yaml").write_text(f"{first}\n---\n{second}\n")
    made = run_merge(tmp_path / "two.yaml", tmp_path / "out")
    again = rebuild_merge(tmp_path / "out" / "weightlens.json", tmp_path / "again")
    assert again.checksums == made.checksums and list(again.steps) == ["first"]


def test_sources_that_have_moved_are_named(tmp_path: Path, folders: Folders, merged: Path) -> None:
    moved = tmp_path / "elsewhere"
    folders.full.rename(moved)
    record = kept(merged, tmp_path / "kept")
    with pytest.raises(ModelNotFound, match=r"--source NAME=MODEL"):
        rebuild_merge(record, tmp_path / "again")
    for name in (str(folders.full), folders.full.name):  # the latter as a card calls it
        options = Options(places={name: str(moved)}, overwrite=True)
        assert rebuild_merge(record, tmp_path / "again", options=options).seed == 7


def test_another_source_is_found_out_and_named(
    tmp_path: Path, folders: Folders, merged: Path
) -> None:
    file = folders.full / WEIGHTS
    tensors = load_file(file)
    tensors["lm_head.weight"] = tensors["lm_head.weight"] + 1
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(CheckFailed, match=r"1 differ \(lm_head\.weight\).*full is not the model"):
        rebuild_merge(merged / "weightlens.json", tmp_path / "again")
    assert (tmp_path / "again" / WEIGHTS).exists()


def test_the_model_that_only_lends_its_tokenizer_is_recorded(tmp_path: Path) -> None:
    """The rows of the embeddings depend on it, so it is pinned and compared like the others."""
    for seed, name in enumerate(("a", "b", "lender"), start=1):
        worded(tmp_path / name, seed, words(32))
    text = linear(tmp_path / "a", tmp_path / "b", tokenizer_source=str(tmp_path / "lender"))
    (tmp_path / "recipe.yaml").write_text(text)
    report = run_merge(tmp_path / "recipe.yaml", tmp_path / "out")
    assert [record.model for record in report.others] == [str(tmp_path / "lender")]
    assert report.others[0].hash


def test_the_base_of_a_single_slice_is_recorded(tmp_path: Path, folders: Folders) -> None:
    own = worded(tmp_path / "own", 9, words(32))
    listed = ", ".join(f"{{model: {m}, layer_range: [0, 2]}}" for m in (own, folders.full))
    (tmp_path / "recipe.yaml").write_text(
        "merge_method: task_arithmetic\nslices:\n"
        f"- {{base_model: {own}, sources: [{listed}], parameters: {{weight: 1}}}}\n"
    )
    report = run_merge(tmp_path / "recipe.yaml", tmp_path / "out")
    assert [record.model for record in report.others] == [str(own)]


def test_an_adapter_output_is_made_again(tmp_path: Path, folders: Folders) -> None:
    text = (
        f"merge_method: task_arithmetic\nbase_model: {folders.base}\noutput: adapter\n"
        f"models: [{{model: {folders.adapter}, parameters: {{weight: 0.5}}}}]\n"
    )
    (tmp_path / "recipe.yaml").write_text(text)
    made = run_merge(tmp_path / "recipe.yaml", tmp_path / "out")
    assert made.checksums == checksums_of(tmp_path / "out")
    again = rebuild_merge(tmp_path / "out" / "weightlens.json", tmp_path / "again")
    assert again.checksums == made.checksums


def test_what_cannot_be_gone_by_is_refused(tmp_path: Path, folders: Folders, merged: Path) -> None:
    with pytest.raises(InputError, match="is no record of a merge"):
        rebuild_merge(folders.base / "config.json", tmp_path / "again")
    extract_adapter(str(folders.base), str(folders.full), tmp_path / "adapter")
    with pytest.raises(InputError, match="extracted, not of a merge"):
        rebuild_merge(tmp_path / "adapter" / "weightlens.json", tmp_path / "again")
    record = merged / "weightlens.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"checksums": {}}))
    with pytest.raises(InputError, match="no checksums"):
        rebuild_merge(record, tmp_path / "again")


def test_a_folder_is_what_its_record_says(tmp_path: Path, folders: Folders, merged: Path) -> None:
    assert verify_folder(merged).checksums == checksums_of(merged)
    extract_adapter(str(folders.base), str(folders.full), tmp_path / "adapter")
    assert verify_folder(tmp_path / "adapter").checksums
    raw = bytearray((merged / WEIGHTS).read_bytes())
    raw[-1] ^= 1
    (merged / WEIGHTS).write_bytes(raw)
    with pytest.raises(OutputError, match=r"not as it was merged: tensors: 1 differ"):
        verify_folder(merged)
    (merged / WEIGHTS).write_bytes(raw[:-1])
    with pytest.raises(OutputError, match=r"not as it was merged.*truncated"):
        verify_folder(merged)


# Bytes of two tensors, each summed alone: neither order nor shards nor metadata count.
def test_checksums_depend_on_the_tensors_alone(tmp_path: Path) -> None:
    a, b = torch.arange(5.0), torch.arange(3)
    for name, tensors in {"one": {"a": a, "b": b}, "two": {"b": b, "a": a}}.items():
        (tmp_path / name).mkdir()
        save_file(tensors, tmp_path / name / WEIGHTS, metadata={"name": name})
    (tmp_path / "shards").mkdir()
    index = {"weight_map": {"a": "x-1.safetensors", "b": "x-2.safetensors"}}
    save_file({"a": a}, tmp_path / "shards" / "x-1.safetensors")
    save_file({"b": b}, tmp_path / "shards" / "x-2.safetensors")
    (tmp_path / "shards" / "model.safetensors.index.json").write_text(json.dumps(index))
    found = [checksums_of(tmp_path / name) for name in ("one", "two", "shards")]
    assert found[0] == found[1] == found[2] and set(found[0]) == {"a", "b"}


def test_differences_are_told_by_kind() -> None:
    found = differences({"a": "1", "b": "2", "c": "3"}, {"b": "2", "c": "4", "d": "5"})
    assert (found.missing, found.extra, found.changed) == (("a",), ("d",), ("c",))
    assert str(found) == "1 missing (a); 1 not in the record (d); 1 differ (c)"
    assert not differences({"a": "1"}, {"a": "1"})


def test_the_command_makes_a_merge_again(tmp_path: Path, folders: Folders, merged: Path) -> None:
    moved = tmp_path / "elsewhere"
    folders.full.rename(moved)
    record, source = str(merged / "weightlens.json"), f"{folders.full}={moved}"
    given = ["merge", record, str(tmp_path / "again"), "--source", source]
    planned = CliRunner().invoke(app, [*given, "--dry-run"])
    assert planned.exit_code == 0, planned.output
    result = CliRunner().invoke(app, given)
    assert result.exit_code == 0 and "The same 21 tensors" in result.output, result.output
    wrong = CliRunner().invoke(app, [*given[:3], "--source", "nothing"])
    assert wrong.exit_code == 2 and "NAME=MODEL" in wrong.output


def test_a_recipe_in_json_is_no_record(tmp_path: Path, folders: Folders) -> None:
    recipe = tmp_path / "recipe.json"
    recipe.write_text(linear(folders.base, folders.full))
    found = CliRunner().invoke(app, ["merge", str(recipe), str(tmp_path / "out")])
    assert found.exit_code == 0, found.output
    assert (tmp_path / "out" / WEIGHTS).is_file()
