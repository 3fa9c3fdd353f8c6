"""Models in pickles: found, hashed, inspected, measured and merged like their safetensors."""

from pathlib import Path

import torch
from checkpoints import Folders, llama_tensors, moved, pickle_model, write_model
from safetensors.torch import load_file

import weightlens
from weightlens.checkpoint.adapter import Adapter
from weightlens.checkpoint.digests import content_hash
from weightlens.checkpoint.model import open_model, open_weights
from weightlens.checkpoint.read import FolderWeights
from weightlens.survey.inspect import inspect_model

AT = "model.layers.0.mlp.up_proj.weight"


def test_where_there_are_safetensors_no_pickle_is_opened(folders: Folders) -> None:
    expected = content_hash(folders.base)
    (folders.base / "pytorch_model.bin").write_bytes(b"no pickle")
    assert isinstance(open_weights(folders.base), FolderWeights)
    assert content_hash(folders.base) == expected
    (folders.adapter / "adapter_model.bin").write_bytes(b"no pickle")
    assert Adapter(folders.adapter).names


def test_an_adapter_may_be_pickle_model(folders: Folders) -> None:
    plain = Adapter(folders.adapter).factored(AT)
    pickle_model(folders.adapter, name="adapter_model")
    factored = Adapter(folders.adapter).factored(AT)
    assert torch.equal(factored.dense(), plain.dense())
    assert inspect_model(str(folders.adapter)).kind == "adapter"
    assert open_model(folders.base, adapters=[folders.adapter]).adapters.names


def test_the_hash_is_of_the_pickles_that_are_read(folders: Folders) -> None:
    pickle_model(folders.base, shards=2)
    (folders.base / "training_args.bin").write_bytes(b"no weights")
    first = content_hash(folders.base)
    (folders.base / "training_args.bin").unlink()
    assert content_hash(folders.base) == first
    pickle_model(folders.full, shards=2)
    assert content_hash(folders.full) != first
    pickle_model(folders.adapter, name="adapter_model")
    assert content_hash(folders.adapter) != content_hash(folders.base)


def test_a_pickled_model_is_inspected_as_its_safetensors_are(folders: Folders) -> None:
    expected = inspect_model(str(folders.base))
    found = inspect_model(str(pickle_model(folders.base, shards=3)))
    assert found.files == 3
    same = {"files": 1, "groups": [], "model": ""}
    assert found.model_copy(update=same) == expected.model_copy(update=same)
    assert {g.module: g for g in found.groups} == {g.module: g for g in expected.groups}


def test_overlap_is_that_of_the_safetensors(folders: Folders) -> None:
    before = weightlens.measure_overlap(folders.base, [folders.full, folders.adapter])
    for folder, name in ((folders.base, "pytorch_model"), (folders.full, "pytorch_model"),
                         (folders.adapter, "adapter_model")):  # fmt: skip
        pickle_model(folder, name=name)
    after = weightlens.measure_overlap(folders.base, [folders.full, folders.adapter])
    assert [model.matrices for model in after.models] == [m.matrices for m in before.models]


def test_a_merge_of_pickles_is_that_of_the_safetensors(folders: Folders, tmp_path: Path) -> None:
    other = write_model(tmp_path / "other", moved(llama_tensors(0), 2))
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        f"merge_method: task_arithmetic\nbase_model: {folders.base}\nmodels:\n"
        + "".join(f"  - model: {m}\n    parameters: {{weight: 0.5}}\n"
                  for m in (folders.full, other)) + "dtype: float32\n"
    )  # fmt: skip
    weightlens.run_merge(recipe, tmp_path / "a")
    for folder in (folders.base, folders.full, other):
        pickle_model(folder, shards=2)
    weightlens.run_merge(recipe, tmp_path / "b")
    one, two = (load_file(tmp_path / out / "model.safetensors") for out in "ab")
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)
