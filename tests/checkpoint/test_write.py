"""Writing: headers first, any order, whole or absent."""

import errno
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from weightlens.checkpoint.layout import TensorInfo, scan_folder
from weightlens.checkpoint.write import CheckpointWriter, check_output, plan_shards
from weightlens.errors import OutputError

TENSORS = {
    "a": torch.arange(6, dtype=torch.float32).reshape(2, 3),
    "b": torch.ones(5, dtype=torch.bfloat16),
    "c": torch.tensor(3),
    "empty": torch.zeros(0, 2),
}
INFOS = {name: TensorInfo(tuple(t.shape), t.dtype) for name, t in TENSORS.items()}


def test_any_order_gives_a_file_that_safetensors_reads(tmp_path: Path) -> None:
    with CheckpointWriter(tmp_path / "out", INFOS) as writer:
        for name in reversed(TENSORS):
            writer.write(name, TENSORS[name])
    loaded = load_file(tmp_path / "out" / "model.safetensors")
    assert all(torch.equal(loaded[name], t) for name, t in TENSORS.items())
    assert {p.name for p in tmp_path.iterdir()} == {"out"}


def test_blocks_land_at_their_offsets(tmp_path: Path) -> None:
    with CheckpointWriter(tmp_path / "out", {"a": INFOS["a"]}) as writer:
        flat = TENSORS["a"].flatten()
        writer.write("a", flat[4:], start=4)
        writer.write("a", flat[:4])
    assert torch.equal(load_file(tmp_path / "out" / "model.safetensors")["a"], TENSORS["a"])


def test_shards_fill_up_to_the_limit_and_are_named_like_transformers() -> None:
    infos = {name: TensorInfo((10,), torch.float32) for name in "abcde"}
    shards = plan_shards(infos, limit=80)
    assert [s.tensors for s in shards] == [("a", "b"), ("c", "d"), ("e",)]
    assert shards[0].file == "model-00001-of-00003.safetensors"


def test_several_shards_have_an_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from weightlens.checkpoint import write

    monkeypatch.setattr(write, "plan_shards", lambda infos: plan_shards(infos, limit=30))
    with CheckpointWriter(tmp_path / "out", INFOS) as writer:
        for name, tensor in TENSORS.items():
            writer.write(name, tensor)
    assert set(scan_folder(tmp_path / "out")) == set(TENSORS)
    assert len(list((tmp_path / "out").glob("*.safetensors"))) > 1


def test_an_exception_leaves_nothing(tmp_path: Path) -> None:
    with (
        pytest.raises(RuntimeError, match="in the middle"),
        CheckpointWriter(tmp_path / "out", INFOS) as writer,
    ):
        writer.write("a", TENSORS["a"])
        raise RuntimeError("in the middle")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("where", ["posix_fallocate", "pwrite", "fsync"])
def test_a_full_disk_is_told_and_the_partial_output_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    def full(*arguments: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, where, full)
    with pytest.raises(OutputError, match=r"disk is full .* partial output was removed"), \
            CheckpointWriter(tmp_path / "out", INFOS) as writer:  # fmt: skip
        for name, tensor in TENSORS.items():
            writer.write(name, tensor)
    assert list(tmp_path.iterdir()) == []


def test_a_stale_partial_folder_of_ours_is_replaced(tmp_path: Path) -> None:
    stale = tmp_path / "out.partial"
    stale.mkdir()
    (stale / ".weightlens-partial").touch()
    (stale / "model-00009-of-00009.safetensors").write_text("old")
    with CheckpointWriter(tmp_path / "out", INFOS) as writer:
        for name, tensor in TENSORS.items():
            writer.write(name, tensor)
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["model.safetensors"]


def test_an_output_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(OutputError, match="is a file"):
        CheckpointWriter(tmp_path / "out", INFOS)


def test_a_second_run_into_the_same_output_is_refused(tmp_path: Path) -> None:
    with CheckpointWriter(tmp_path / "out", INFOS) as writer:
        with (
            pytest.raises(OutputError, match="another run"),
            CheckpointWriter(tmp_path / "out", INFOS),
        ):
            pass
        for name, tensor in TENSORS.items():
            writer.write(name, tensor)
    assert torch.equal(load_file(tmp_path / "out" / "model.safetensors")["a"], TENSORS["a"])


def test_an_output_behind_a_link_is_written_where_it_points(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with CheckpointWriter(tmp_path / "link", INFOS) as writer:
        for name, tensor in TENSORS.items():
            writer.write(name, tensor)
    assert (tmp_path / "real" / "model.safetensors").exists()
    assert {p.name for p in tmp_path.iterdir()} == {"real", "link"}


def test_only_an_earlier_merge_is_ever_overwritten(tmp_path: Path) -> None:
    out = tmp_path / "precious"
    out.mkdir()
    (out / "thesis.tex").touch()
    with pytest.raises(OutputError, match="no earlier merge"):
        check_output(out, overwrite=True)
    (out / "weightlens.json").touch()
    check_output(out, overwrite=True)
    (out / "base").mkdir()
    with pytest.raises(OutputError, match="holds the source"):
        check_output(out, overwrite=True, sources=[out / "base"])


def test_a_name_that_no_file_can_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be used"):
        check_output(tmp_path / ("x" * 300), overwrite=False)
