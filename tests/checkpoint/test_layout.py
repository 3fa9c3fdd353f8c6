"""Headers: what is read from them, and every way in which a checkpoint can be broken."""

import json
import struct
from pathlib import Path

import pytest
import torch
from checkpoints import Folders, llama_tensors, write_model
from safetensors.torch import load_file, save_file

from weightlens.checkpoint.layout import TensorInfo, read_header, scan_folder
from weightlens.checkpoint.read import FolderWeights
from weightlens.errors import CheckpointError, TensorMissing, UnsupportedTensor


def raw_file(file: Path, header: object, data: bytes = b"") -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return file


def entry(shape: list[int], start: int, end: int, dtype: str = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


def test_a_golden_file_reads_byte_by_byte(tmp_path: Path) -> None:
    data = struct.pack("<3f", 1.0, -2.0, 0.5)
    file = raw_file(tmp_path / "model.safetensors", {"x": entry([3], 0, 12)}, data)
    weights = FolderWeights(tmp_path)
    assert weights.infos == {"x": TensorInfo((3,), torch.float32)}
    assert weights.stored("x").tolist() == [1.0, -2.0, 0.5]
    assert weights.read_block("x", 1, 3).tolist() == [-2.0, 0.5]
    assert read_header(file)["x"].offset == file.stat().st_size - 12


@pytest.mark.parametrize("shards", [1, 2, 5])
def test_reading_gives_what_safetensors_gives(tmp_path: Path, shards: int) -> None:
    tensors = llama_tensors(3, dtype=torch.bfloat16)
    weights = FolderWeights(write_model(tmp_path, tensors, shards=shards))
    assert set(weights.infos) == set(tensors)
    for file in tmp_path.glob("*.safetensors"):
        for name, tensor in load_file(file).items():
            assert torch.equal(weights.stored(name), tensor)
            assert weights.read(name).dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.int64, torch.bool])
def test_other_dtypes_and_empty_shapes_survive(tmp_path: Path, dtype: torch.dtype) -> None:
    tensors = {"a": torch.ones(2, 3).to(dtype), "empty": torch.zeros(0, 4), "one": torch.ones(())}
    save_file(tensors, tmp_path / "model.safetensors")
    weights = FolderWeights(tmp_path)
    assert all(torch.equal(weights.stored(name), t) for name, t in tensors.items())


def test_a_tied_head_reads_as_the_embedding(tmp_path: Path) -> None:
    tensors = llama_tensors(0)
    del tensors["lm_head.weight"]
    weights = FolderWeights(write_model(tmp_path, tensors))
    assert torch.equal(weights.stored("lm_head.weight"), tensors["model.embed_tokens.weight"])
    with pytest.raises(TensorMissing, match="no tensor called nothing"):
        weights.stored("nothing")


def test_integers_are_not_read_as_weights(tmp_path: Path) -> None:
    save_file({"ids": torch.arange(4)}, tmp_path / "model.safetensors")
    with pytest.raises(UnsupportedTensor, match="int64"):
        FolderWeights(tmp_path).read("ids")


def test_float8_without_scales_is_refused(tmp_path: Path) -> None:
    save_file({"w": torch.ones(4).to(torch.float8_e4m3fn)}, tmp_path / "model.safetensors")
    with pytest.raises(UnsupportedTensor, match="scales"):
        FolderWeights(tmp_path).read("w")


def test_a_folder_without_weights_says_so(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no safetensors weights"):
        scan_folder(tmp_path)
    (tmp_path / "pytorch_model.bin").touch()
    with pytest.raises(CheckpointError, match="pickled"):
        scan_folder(tmp_path)


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    write_model(tmp_path, llama_tensors(0), shards=3)
    (tmp_path / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"model-00002-of-00003\.safetensors is missing"):
        scan_folder(tmp_path)


@pytest.mark.parametrize("keep", [0, 5, 60, -1])
def test_a_truncated_file_is_found_by_its_header(folders: Folders, keep: int) -> None:
    file = folders.base / "model.safetensors"
    data = file.read_bytes()
    file.write_bytes(data[:keep])
    with pytest.raises(CheckpointError, match="truncated"):
        scan_folder(folders.base)


def test_stray_bytes_are_an_error(folders: Folders) -> None:
    file = folders.base / "model.safetensors"
    file.write_bytes(file.read_bytes() + b"x")
    with pytest.raises(CheckpointError, match="stray bytes"):
        scan_folder(folders.base)


@pytest.mark.parametrize(
    "header",
    [
        b"{not json",
        b"[]",
        b'{"x": 3}',
        {"x": entry([3], 0, 8)},
        {"x": entry([-3], 0, 12)},
        {"x": entry([3], 4, 16)},
        {"x": entry([3], 0, 12), "y": entry([3], 0, 12)},
        {"x": entry([2**40], 0, 2**42)},
        {"x": {"dtype": "F32", "shape": [3], "data_offsets": [0]}},
    ],
)
def test_headers_that_contradict_themselves_are_refused(tmp_path: Path, header: object) -> None:
    raw_file(tmp_path / "model.safetensors", header, b"\0" * 12)
    with pytest.raises(CheckpointError):
        scan_folder(tmp_path)


def test_a_huge_header_is_refused_before_it_is_read(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(struct.pack("<Q", 2**60) + b"{}")
    with pytest.raises(CheckpointError, match="header"):
        scan_folder(tmp_path)


def test_an_unknown_dtype_is_refused_by_name(tmp_path: Path) -> None:
    raw_file(tmp_path / "model.safetensors", {"x": entry([3], 0, 12, "F4_MAGIC")}, b"\0" * 12)
    with pytest.raises(UnsupportedTensor, match="F4_MAGIC"):
        scan_folder(tmp_path)


@pytest.mark.parametrize("shard", ["../model.safetensors", "/etc/passwd", "sub/m.safetensors"])
def test_an_index_cannot_leave_its_folder(tmp_path: Path, shard: str) -> None:
    index = {"weight_map": {"x": shard}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match="outside the folder"):
        scan_folder(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", '{"weight_map": 3}', "{"])
def test_a_damaged_index_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(text)
    with pytest.raises(CheckpointError, match="not an index of shards"):
        scan_folder(tmp_path)
