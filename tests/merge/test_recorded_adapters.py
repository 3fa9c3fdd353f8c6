"""What the record and an evaluation say of an adapter whose factors are the same as another's, and
whose alpha is not: that it is another."""

import json
from pathlib import Path

import pytest
from checkpoints import Folders

from weightlens.errors import CheckFailed
from weightlens.evaluate.asked_model import AskedModel, Settings
from weightlens.hub import resolve
from weightlens.merge.engine import run_merge
from weightlens.merge.rebuilding import rebuild_merge


def rescale(adapter: Path, by: float) -> None:
    file = adapter / "adapter_config.json"
    config = json.loads(file.read_text())
    file.write_text(json.dumps(config | {"lora_alpha": config["lora_alpha"] * by}))


@pytest.mark.parametrize("output", ["model", "adapter"])
def test_a_merge_records_another_source_and_a_rebuild_names_it(
    tmp_path: Path, folders: Folders, output: str
) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"merge_method: task_arithmetic\nbase_model: {folders.base}\noutput: {output}\n"
        f"models:\n- {{model: {folders.adapter}, parameters: {{weight: 1}}}}\n"
    )
    first = run_merge(recipe, tmp_path / "first")
    rescale(folders.adapter, 4)
    second = run_merge(recipe, tmp_path / "second")
    assert first.checksums != second.checksums
    assert first.sources[0].hash != second.sources[0].hash
    with pytest.raises(CheckFailed, match=f"{folders.adapter} is not the model that went in"):
        rebuild_merge(tmp_path / "first" / "weightlens.json", tmp_path / "again")
    rescale(folders.adapter, 0.25)
    again = rebuild_merge(tmp_path / "first" / "weightlens.json", tmp_path / "third")
    assert again.sources[0].hash == first.sources[0].hash


def test_answers_of_another_alpha_are_those_of_another_model(folders: Folders) -> None:
    at = resolve(f"{folders.base}+{folders.adapter}")
    first = AskedModel(at, Settings(), None)
    rescale(folders.adapter, 4)
    second = AskedModel(at, Settings(), None)
    assert first.hash != second.hash
    assert first._asked_as() != second._asked_as()
