"""Looking at models on the Hub without their weights, against what they are once downloaded."""

import json
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from checkpoints import llama_tensors, write_adapter, write_model
from huggingface_hub import constants
from loopback import Hub
from safetensors.torch import save

from weightlens.checkpoint.model import open_model
from weightlens.errors import CheckpointError, ModelNotFound, UnsupportedTensor
from weightlens.hub import is_cached, peek, peek_all, resolve

BIG = 4_000_000


def raw(header: dict[str, object] | bytes, size: int = 0) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(size)


def test_a_plan_takes_the_header_and_not_the_file(hub: Hub, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "made", {"w": torch.zeros(1000, BIG // 4000)})
    repo = hub.add("org/model", folder)
    repo.files["tokenizer.json"] = b"{}"
    found = peek("org/model")
    assert found.tensors == {"w": ("F32", (1000, 1000), "model.safetensors")}
    assert (found.commit, found.complete, found.unknown) == (repo.commit, False, None)
    assert hub.sent < 200_000
    assert found.sizes["model.safetensors"] > BIG
    assert found.missing == found.sizes["model.safetensors"]
    beside = {f.name for f in found.folder.iterdir()}
    assert beside == {"config.json", "generation_config.json", "tokenizer.json"}
    assert not is_cached("org/model")
    assert not any(r.sent == found.missing for r in hub.requests)


@pytest.mark.parametrize("shards", [1, 3])
def test_what_is_planned_with_is_what_is_downloaded(hub: Hub, tmp_path: Path, shards: int) -> None:
    tensors = llama_tensors(0, dtype=torch.bfloat16)
    hub.add("org/model", write_model(tmp_path / "made", tensors, shards=shards))
    peeked = peek("org/model")
    remote = open_model(
        peeked.folder, label="org/model", remote={peeked.folder: peeked.tensors}
    ).weights
    here = open_model(resolve("org/model").path).weights
    assert remote is not None and here is not None
    assert list(remote.infos.items()) == list(here.infos.items())  # their order is the output's
    assert remote.config == here.config
    with pytest.raises(
        CheckpointError, match=r"org/model: lm_head.* not on this machine.*download"
    ):
        remote.read("lm_head.weight")
    with pytest.raises(CheckpointError, match="download the model first"):
        remote.read_block("lm_head.weight", 0, 1)


def test_tensors_are_listed_in_the_order_of_their_bytes(hub: Hub) -> None:
    header = {name: {"dtype": "F32", "shape": [1], "data_offsets": [at, at + 4]}
              for name, at in (("b", 4), ("a", 0), ("c", 8))}  # fmt: skip
    hub.add("org/model", {"model.safetensors": raw(header, 12)})
    assert list(peek("org/model").tensors) == ["a", "b", "c"]


def test_a_header_beyond_the_first_request_is_read_whole(hub: Hub) -> None:
    header = {f"{'x' * 200}{i}": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]}
              for i in range(600)}  # fmt: skip
    hub.add("org/model", {"model.safetensors": raw(header, 0)})
    assert len(peek("org/model").tensors) == 600


def test_an_adapter_is_planned_with_on_its_base(hub: Hub, tmp_path: Path) -> None:
    tensors = llama_tensors(0)
    base = write_model(tmp_path / "base", tensors)
    hub.add("org/lora", write_adapter(tmp_path / "lora", tensors))
    here, there = peek_all(f"{base}+org/lora")
    assert (here.complete, here.commit, there.complete) == (True, None, False)
    remote = {there.folder: there.tensors}
    model = open_model(here.folder, adapters=[there.folder], remote=remote)
    assert model.weights is not None
    model.check_against(model.weights)
    whole = open_model(base, adapters=[tmp_path / "lora"])
    assert list(model.adapters.names) == list(whole.adapters.names)
    with pytest.raises(CheckpointError, match="download the model first"):
        model.adapters.factored(next(iter(model.adapters.names)))


def test_of_pickled_weights_only_the_sizes_are_known(hub: Hub) -> None:
    hub.add("org/old", {"config.json": b"{}", "pytorch_model.bin": bytes(2_000_000)})
    found = peek("org/old")
    assert (found.tensors, found.missing) == ({}, 2_000_000)
    assert "org/old: has pickled weights only" in str(found.unknown)
    assert "0.002 GB" in str(found.unknown)
    assert hub.sent < 10_000


def test_what_is_cached_is_not_asked_for_again(hub: Hub) -> None:
    hub.add("org/model", {"config.json": b"{}", "model.safetensors": save({"w": torch.ones(2)})})
    folder = resolve("org/model").path
    sent = hub.sent
    found = peek("org/model")
    assert (found.complete, found.folder, found.tensors) == (True, folder, {})
    assert hub.sent - sent < 1000


def test_a_newer_commit_is_looked_at(hub: Hub) -> None:
    weights = save({"w": torch.ones(2)})
    old = hub.add("org/model", {"model.safetensors": weights}).commit
    resolve("org/model")
    new = hub.add("org/model", {"model.safetensors": weights, "config.json": b"{}"}).commit
    found = peek("org/model")
    assert (found.commit, found.complete) == (new, False)
    assert peek(f"org/model@{old}").complete


def test_cached_pickles_do_not_stand_for_safetensors(hub: Hub) -> None:
    from huggingface_hub import hf_hub_download

    hub.add(
        "org/model", {"pytorch_model.bin": b"x", "model.safetensors": save({"w": torch.ones(2)})}
    )
    hf_hub_download("org/model", "pytorch_model.bin")
    assert list(peek("org/model").tensors) == ["w"]


def test_offline_the_cache_is_used_or_nothing(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add("org/model", {"model.safetensors": save({"w": torch.ones(2)})})
    hub.add("org/peeked", {"config.json": b"{}", "model.safetensors": save({"w": torch.ones(2)})})
    folder = resolve("org/model").path
    peek("org/peeked")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    asked = len(hub.requests)
    assert peek("org/model").folder == folder
    for name in ("org/peeked", "org/absent"):
        with pytest.raises(ModelNotFound, match="not whole in the cache; HF_HUB_OFFLINE"):
            peek(name)
    assert len(hub.requests) == asked


def test_gated_headers_are_refused_with_a_remedy(hub: Hub) -> None:
    hub.add("org/gated", {"model.safetensors": save({"w": torch.ones(2)})}, gated=True)
    with pytest.raises(ModelNotFound, match=r"is gated; accept its terms.*log in"):
        peek("org/gated")
    with pytest.raises(ModelNotFound, match="no such model on the Hub"):
        peek("org/absent")


def test_large_companions_are_left_for_the_download(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("weightlens.hub.remote.COMPANION_BYTES", 1000)
    hub.add("org/model", {"model.safetensors": save({"w": torch.ones(2)}),
                          "tokenizer.json": bytes(5000)})  # fmt: skip
    found = peek("org/model")
    assert found.missing == found.sizes["model.safetensors"] + 5000
    assert not found.folder.exists()


@pytest.mark.parametrize(
    "file",
    [
        b"short",
        struct.pack("<Q", 2**60) + b"{}",
        raw(b"{not json"),
        raw(b"[]"),
        raw({"w": 3}),
        raw({"w": {"dtype": "F32", "shape": ["x"], "data_offsets": [0, 4]}}),
        raw({"w": {"dtype": "F32", "shape": 3, "data_offsets": [0, 4]}}),
        raw({"w": {"shape": [1], "data_offsets": [0, 4]}}),
    ],
)
def test_a_damaged_header_is_told(hub: Hub, file: bytes) -> None:
    hub.add("org/model", {"model.safetensors": file})
    with pytest.raises(
        CheckpointError, match=r"org/model: model\.safetensors has a damaged header"
    ):
        peek("org/model")


@pytest.mark.parametrize(
    ("tensor", "error"),
    [({"dtype": "F4_MAGIC", "shape": [1]}, UnsupportedTensor),
     ({"dtype": "F32", "shape": [-1]}, CheckpointError)],
)  # fmt: skip
def test_tensors_that_cannot_be_are_refused(
    hub: Hub, tensor: dict[str, object], error: type[Exception]
) -> None:
    hub.add("org/model", {"model.safetensors": raw({"w": {**tensor, "data_offsets": [0, 4]}}, 4)})
    found = peek("org/model")
    with pytest.raises(error, match=r"w in model\.safetensors"):
        open_model(found.folder, label="org/model", remote={found.folder: found.tensors})


def test_a_tensor_that_is_not_in_its_shard_is_told(hub: Hub) -> None:
    index = {"weight_map": {"w": "a.safetensors", "x": "a.safetensors"}}
    hub.add("org/model", {"model.safetensors.index.json": json.dumps(index).encode(),
                          "a.safetensors": save({"w": torch.ones(2)})})  # fmt: skip
    with pytest.raises(CheckpointError, match=r"tensor x is not in a\.safetensors"):
        peek("org/model")


def test_several_files_need_an_index(hub: Hub) -> None:
    weights = save({"w": torch.ones(2)})
    hub.add("org/model", {"a.safetensors": weights, "b.safetensors": weights})
    with pytest.raises(CheckpointError, match="several safetensors files"):
        peek("org/model")


def test_a_local_folder_is_complete(tmp_path: Path) -> None:
    assert peek(str(tmp_path)).complete
    (tmp_path / "file").touch()
    with pytest.raises(ModelNotFound, match="is a file"):
        peek(str(tmp_path / "file"))


def test_another_process_asks_the_same_hub(hub: Hub, cache: Path) -> None:
    """By variables of the environment, as a user would set them."""
    import os

    hub.add("org/model", {"model.safetensors": save({"w": torch.ones(2)})})
    code = "from weightlens.hub import peek; print(dict(peek('org/model').tensors))"
    environment = {**os.environ, **hub.environment(cache)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert "shape=(2,)" in done.stdout
