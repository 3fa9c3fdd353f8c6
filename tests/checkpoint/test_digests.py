"""A folder's hash: the same whichever of its pieces were read for something else before."""

import json
from pathlib import Path

import pytest
import xxhash
from checkpoints import Folders, llama_tensors, pickle_model, write_model
from safetensors.torch import load_file

from weightlens.checkpoint import digests
from weightlens.checkpoint.digests import Piece, ReadDigests, content_hash
from weightlens.checkpoint.read import FolderWeights

NAME = "model.layers.0.mlp.up_proj.weight"


def test_the_hash_is_of_names_and_pieces(tmp_path: Path) -> None:
    # a file that is no safetensors file is one piece
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    expected = xxhash.xxh3_128(b"model.safetensors")
    expected.update(xxhash.xxh3_128_digest(b"weights"))
    assert content_hash(tmp_path) == expected.hexdigest()


@pytest.mark.parametrize("place", [3, 60, -1])
def test_every_byte_counts(folders: Folders, place: int) -> None:
    file = folders.base / "model.safetensors"
    before, raw = content_hash(folders.base), bytearray(file.read_bytes())
    raw[place] ^= 1
    file.write_bytes(raw)
    assert content_hash(folders.base) != before


def rewrite(adapter: Path, **changes: object) -> str:
    """Changes an adapter's configuration; None takes a key away. Returns the folder's hash."""
    file = adapter / "adapter_config.json"
    config = json.loads(file.read_text()) | changes
    file.write_text(json.dumps({key: value for key, value in config.items() if value is not None}))
    return content_hash(adapter)


@pytest.mark.parametrize(
    "changes",
    [
        {"lora_alpha": 32}, {"lora_alpha": 8.5}, {"lora_alpha": 0}, {"r": 8}, {"use_rslora": True},
        {"use_dora": True}, {"fan_in_fan_out": True}, {"alpha_pattern": {"q_proj": 1}},
        {"rank_pattern": {"q_proj": 1}}, {"layers_to_transform": 0}, {"layers_to_transform": [0]},
        {"modules_to_save": ["lm_head"]}, {"target_modules": ["q_proj"]}, {"bias": "all"},
        {"init_lora_weights": "pissa"}, {"peft_type": "IA3"},
    ],
)  # fmt: skip
def test_what_decides_an_adapters_deltas_counts(
    folders: Folders, changes: dict[str, object]
) -> None:
    before = content_hash(folders.adapter)
    assert rewrite(folders.adapter, **changes) != before


@pytest.mark.parametrize(
    "changes",
    [
        {"base_model_name_or_path": "elsewhere/base"}, {"revision": "main"}, {"bias": "none"},
        {"inference_mode": True}, {"task_type": "CAUSAL_LM"}, {"lora_dropout": 0.1},
        {"peft_version": "0.17.0"}, {"use_rslora": False}, {"alpha_pattern": {}},
        {"modules_to_save": []}, {"init_lora_weights": True}, {"lora_alpha": 8.0},
        {"peft_type": None},
    ],
)  # fmt: skip
def test_what_changes_no_delta_does_not_count(folders: Folders, changes: dict[str, object]) -> None:
    before = content_hash(folders.adapter)
    assert rewrite(folders.adapter, **changes) == before


def test_neither_layout_nor_the_order_of_sets_counts_but_that_of_patterns_does(
    folders: Folders,
) -> None:
    """PEFT keeps target_modules in a set; of alpha_pattern the first that fits holds."""
    patterns = {"q_proj": 1, ".*proj": 2}
    before = rewrite(folders.adapter, target_modules=["a", "b"], alpha_pattern=patterns)
    file = folders.adapter / "adapter_config.json"
    config = json.loads(file.read_text())
    file.write_text(json.dumps(dict(reversed(config.items())), indent=4))
    assert content_hash(folders.adapter) == before
    assert rewrite(folders.adapter, target_modules=["b", "a"]) == before
    assert rewrite(folders.adapter, alpha_pattern=dict(reversed(patterns.items()))) != before


@pytest.mark.parametrize("text", ["[1]", "{", "[" * 100_000, '{"lora_alpha": 1' + "0" * 400 + "}"])
def test_a_configuration_that_cannot_be_read_counts_as_it_is(folders: Folders, text: str) -> None:
    before = content_hash(folders.adapter)
    (folders.adapter / "adapter_config.json").write_text(text)
    broken = content_hash(folders.adapter)
    (folders.adapter / "adapter_config.json").write_text(text + " ")
    assert len({before, broken, content_hash(folders.adapter)}) == 3


def test_the_settings_of_pickled_factors_count_too(folders: Folders) -> None:
    (folders.adapter / "adapter_model.safetensors").rename(folders.adapter / "model.safetensors")
    pickle_model(folders.adapter, name="adapter_model")
    assert rewrite(folders.adapter, lora_alpha=9) != rewrite(folders.adapter, lora_alpha=10)


def test_an_adapter_that_was_read_already_has_the_same_hash(folders: Folders) -> None:
    expected = content_hash(folders.adapter)
    weights = FolderWeights(folders.adapter)
    weights.digests = ReadDigests()
    for name in load_file(folders.adapter / "adapter_model.safetensors"):
        weights.read(name)
    assert len(weights.digests.known) == len(weights.infos)
    assert content_hash(folders.adapter, weights.digests.known) == expected


def test_the_hash_of_a_full_model_is_that_of_its_weights_alone(folders: Folders) -> None:
    before = content_hash(folders.base)
    (folders.base / "config.json").write_text("{}")
    assert content_hash(folders.base) == before


def test_files_beside_the_weights_that_cannot_be_read_do_not_stop_the_hash(
    folders: Folders,
) -> None:
    """After hours of merging: a dtype that is not known here, and a link that leads nowhere."""
    header = b'{"x":{"dtype":"F4","shape":[4],"data_offsets":[0,2]}}'
    stray = folders.base / "stray.safetensors"
    stray.write_bytes(len(header).to_bytes(8, "little") + header + b"ab")
    before = content_hash(folders.base)
    (folders.base / "gone.safetensors").symlink_to("nowhere")
    (folders.base / "folder.safetensors").mkdir()
    assert content_hash(folders.base) == before
    stray.write_bytes(stray.read_bytes()[:-1] + b"c")
    assert content_hash(folders.base) != before


def test_what_was_read_in_order_is_not_read_again(
    folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = content_hash(folders.base)
    weights = FolderWeights(folders.base)
    weights.digests = ReadDigests()
    for name, info in weights.infos.items():
        weights.read_block(name, 0, 5)  # a look before the pass does not disturb it
        for start in range(0, info.entries, 7):
            weights.read_block(name, start, min(start + 7, info.entries))
    assert len(weights.digests.known) == len(weights.infos)
    read: list[Piece] = []
    plainly = digests.piece_digest
    monkeypatch.setattr(digests, "piece_digest", lambda piece: read.append(piece) or plainly(piece))
    assert content_hash(folders.base, weights.digests.known) == expected
    assert [piece.offset for piece in read] == [0], "the header alone"


def test_what_was_read_in_part_or_out_of_order_does_not_count(tmp_path: Path) -> None:
    weights = FolderWeights(write_model(tmp_path / "model", llama_tensors(0)))
    weights.digests = ReadDigests()
    entries = weights.infos[NAME].entries
    weights.read_block(NAME, 0, 10)
    weights.read_block(NAME, 20, entries)
    weights.read_block(NAME, 10, 20)
    assert not weights.digests.known
    weights.read(NAME)
    assert len(weights.digests.known) == 1
