"""Downloads from a Hub on this machine: which files come, and what is said when none do."""

import json
from pathlib import Path

import pytest
from checkpoints import llama_tensors, write_adapter, write_model
from huggingface_hub import constants
from loopback import Hub

from weightlens.errors import CheckpointError, ModelNotFound
from weightlens.hub import is_cached, resolve

FILES = {"config.json": b"{}", "model.safetensors": b"weights"}
PICKLES = {"config.json": b"{}", "pytorch_model.bin": b"weights", "training_args.bin": b"no"}
INDEX = json.dumps({"weight_map": {"a": "model-00001-of-00002.safetensors",
                                   "b": "model-00002-of-00002.safetensors"}}).encode()  # fmt: skip
SHARDS = {"model-00001-of-00002.safetensors": b"one", "model-00002-of-00002.safetensors": b"two"}


def names(folder: Path) -> set[str]:
    return {str(f.relative_to(folder)) for f in folder.rglob("*") if f.is_file()}


def test_a_model_is_downloaded_with_what_lies_beside_its_weights(hub: Hub, tmp_path: Path) -> None:
    files = write_model(tmp_path / "made", llama_tensors(0), shards=2)
    repo = hub.add("org/model", files)
    repo.files |= {"README.md": b"# no", "model.onnx": b"no", "sub/model.safetensors": b"no",
                   "pytorch_model.bin": b"no", "consolidated.safetensors": b"no"}  # fmt: skip
    found = resolve("org/model")
    assert (found.label, found.commits) == ("org/model", (repo.commit,))
    assert names(found.path) == names(files)
    assert all((found.path / n).read_bytes() == (files / n).read_bytes() for n in names(files))
    asked = {request.path for request in hub.requests}
    assert not any("pytorch_model" in path or "consolidated" in path for path in asked)


def test_pickles_are_downloaded_where_there_are_no_safetensors(hub: Hub) -> None:
    hub.add("org/model", PICKLES)
    assert names(resolve("org/model").path) == {"config.json", "pytorch_model.bin"}


def test_shards_of_pickles_come_by_their_index(hub: Hub) -> None:
    hub.add("org/model", {
        "pytorch_model.bin.index.json": b'{"weight_map": {"a": "pytorch_model-1.bin"}}',
        "pytorch_model-1.bin": b"weights", "pytorch_model-2.bin": b"no",
    })  # fmt: skip
    found = names(resolve("org/model").path)
    assert found == {"pytorch_model.bin.index.json", "pytorch_model-1.bin"}


@pytest.mark.parametrize("kept", ["adapter_model.safetensors", "adapter_model.bin"])
def test_of_an_adapter_its_factors_are_downloaded(hub: Hub, kept: str) -> None:
    repo = hub.add("org/lora", {"adapter_config.json": b"{}", kept: b"factors"})
    repo.files["training_args.bin"] = b"no"
    assert names(resolve("org/lora").path) == {"adapter_config.json", kept}


def test_every_term_of_a_sum_may_come_from_the_hub(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = hub.add("org/base", FILES)
    base.revisions["refs/pr/1"] = base.commit
    adapter = hub.add("lora", write_adapter(tmp_path / "made", llama_tensors(0)))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    found = resolve("org/base@refs/pr/1+mine+lora")
    assert found.commits == (base.commit, None, adapter.commit)
    assert found.folders[1] == Path("mine")
    assert [folder.name for folder in found.folders[::2]] == [base.commit, adapter.commit]


def test_a_model_is_cached_once_all_of_it_is_there(hub: Hub) -> None:
    hub.add("org/model", FILES | {"tokenizer.json": b"{}"})
    assert not is_cached("org/model")
    path = resolve("org/model").path
    asked = len(hub.requests)
    assert is_cached("org/model")
    assert is_cached(f"{path}+org/model@{path.name}")
    assert not is_cached("org/model@other")
    (path / "tokenizer.json").unlink()  # it is on the cache's list of files
    assert not is_cached("org/model")
    assert len(hub.requests) == asked


@pytest.mark.parametrize("lost", ["model.safetensors.index.json", *SHARDS])
def test_shards_are_not_cached_without_one_of_them(hub: Hub, cache: Path, lost: str) -> None:
    hub.add("org/model", {"model.safetensors.index.json": INDEX, **SHARDS})
    folder = resolve("org/model").path
    for listed in cache.rglob("trees/*.json"):  # as an older huggingface_hub leaves it
        listed.unlink()
    from huggingface_hub import _tree_cache

    _tree_cache._IN_MEMORY_TREE_CACHE.clear()
    assert is_cached("org/model")
    (folder / lost).unlink()
    assert not is_cached("org/model")


@pytest.mark.parametrize("way", ["offline", "down"])
def test_what_is_cached_is_used_where_the_hub_cannot_be_asked(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    hub.add("org/model", FILES)
    online = resolve("org/model")
    hub.down = way == "down"
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", way == "offline")
    asked = len(hub.requests)
    assert resolve("org/model") == online
    assert (len(hub.requests) == asked) == (way == "offline")
    (online.path / "model.safetensors").unlink()
    with pytest.raises(ModelNotFound, match="no such folder, and"):
        resolve("org/model")


def test_a_commit_that_is_cached_is_not_asked_for(hub: Hub) -> None:
    commit = hub.add("org/model", FILES).commit
    online = resolve(f"org/model@{commit}")
    asked = len(hub.requests)
    assert resolve(f"org/model@{commit}") == online
    assert len(hub.requests) == asked


def test_what_is_missing_private_or_gated_is_told_apart(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add("org/model", FILES)
    hub.add("org/private", FILES, private=True)
    hub.add("org/gated", FILES, gated=True)
    for name in ("org/absent", "org/private"):
        with pytest.raises(ModelNotFound, match="no such model on the Hub, or a private one; no t"):
            resolve(name)
    with pytest.raises(ModelNotFound, match=r"org/gated: is gated; accept.*no token is set"):
        resolve("org/gated")
    with pytest.raises(ModelNotFound, match="org/model, but no revision v9"):
        resolve("org/model@v9")
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(ModelNotFound, match="or closed to your token") as refused:
        resolve("org/private")
    assert "hf_wrong" not in str(refused.value)
    with pytest.raises(ModelNotFound, match=r"is gated.*with the account of your token"):
        resolve("org/gated")
    monkeypatch.setenv("HF_TOKEN", Hub.EXPIRED)
    with pytest.raises(ModelNotFound, match="org/model: the Hub refuses your token"):
        resolve("org/model")
    monkeypatch.setenv("HF_TOKEN", Hub.TOKEN)
    assert names(resolve("org/private").path) == names(resolve("org/gated").path) == set(FILES)


def test_a_hub_that_nobody_answers_for_is_told(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(
        ModelNotFound, match=r"neither did the Hub hand it over \(.*nor is it whole"
    ):
        resolve("org/model")


def test_an_id_without_weights_is_told_before_anything_is_downloaded(hub: Hub) -> None:
    hub.add("org/data", {"README.md": b"#", "config.json": b"{}", "weights.gguf": b"no"})
    hub.add("org/lora", {"adapter_config.json": b"{}", "model.safetensors": b"no"})
    for name in ("org/data", "org/lora"):
        with pytest.raises(ModelNotFound, match=r"neither safetensors nor pytorch_model\.bin"):
            resolve(name)
    assert all("/resolve/" not in request.path for request in hub.requests)


@pytest.mark.parametrize(
    ("index", "said"),
    [
        (b"{", "not an index of shards"),
        (b'{"weight_map": {"a": "../x.safetensors"}}', "lies outside the folder"),
        (b'{"weight_map": {"a": "x.safetensors"}}', "names x.safetensors, which the Hub lacks"),
    ],
)
def test_a_bad_index_is_told_before_the_shards_come(hub: Hub, index: bytes, said: str) -> None:
    hub.add("org/model", {"model.safetensors.index.json": index, **SHARDS})
    with pytest.raises(CheckpointError, match=said):
        resolve("org/model")
