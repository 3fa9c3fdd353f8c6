"""Writing: headers first, any order, whole or absent."""

import errno
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from weightlens.checkpoint import write
from weightlens.checkpoint.journal import Journal
from weightlens.checkpoint.layout import TensorInfo, scan_folder
from weightlens.checkpoint.output import PROVENANCE_FILE, check_output
from weightlens.checkpoint.partial import JOURNAL, MARKER, REPLACED
from weightlens.checkpoint.write import CheckpointWriter, plan_shards
from weightlens.errors import InputError, OutputError

TENSORS = {
    "a": torch.arange(6, dtype=torch.float32).reshape(2, 3),
    "b": torch.ones(5, dtype=torch.bfloat16),
    "c": torch.tensor(3),
    "empty": torch.zeros(0, 2),
}
INFOS = {name: TensorInfo(tuple(t.shape), t.dtype) for name, t in TENSORS.items()}


def test_any_order_gives_a_file_that_safetensors_reads(tmp_path: Path) -> None:
    with CheckpointWriter(tmp_path / "out", INFOS, plan="p") as writer:
        for name in reversed(TENSORS):
            writer.write(name, TENSORS[name])
    loaded = load_file(tmp_path / "out" / "model.safetensors")
    assert all(torch.equal(loaded[name], t) for name, t in TENSORS.items())
    assert {p.name for p in tmp_path.iterdir()} == {"out"}


def test_blocks_land_at_their_offsets(tmp_path: Path) -> None:
    with CheckpointWriter(tmp_path / "out", {"a": INFOS["a"]}, plan="p") as writer:
        flat = TENSORS["a"].flatten()
        writer.write("a", flat[:4])
        writer.write("a", flat[4:], start=4)
    assert torch.equal(load_file(tmp_path / "out" / "model.safetensors")["a"], TENSORS["a"])


def test_shards_fill_up_to_the_limit_and_are_named_like_transformers() -> None:
    infos = {name: TensorInfo((10,), torch.float32) for name in "abcde"}
    shards = plan_shards(infos, limit=80)
    assert [s.tensors for s in shards] == [("a", "b"), ("c", "d"), ("e",)]
    assert shards[0].file == "model-00001-of-00003.safetensors"


def test_several_shards_have_an_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write, "plan_shards", lambda infos: plan_shards(infos, limit=30))
    with CheckpointWriter(tmp_path / "out", INFOS, plan="p") as writer:
        for name, tensor in TENSORS.items():
            writer.write(name, tensor)
    assert set(scan_folder(tmp_path / "out")) == set(TENSORS)
    assert len(list((tmp_path / "out").glob("*.safetensors"))) > 1


def test_an_exception_leaves_nothing(tmp_path: Path) -> None:
    with (
        pytest.raises(RuntimeError, match="in the middle"),
        CheckpointWriter(tmp_path / "out", INFOS, plan="p") as writer,
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
            CheckpointWriter(tmp_path / "out", INFOS, plan="p") as writer:  # fmt: skip
        for name, tensor in TENSORS.items():
            writer.write(name, tensor)
    assert list(tmp_path.iterdir()) == []


def test_a_stale_partial_folder_of_ours_is_replaced(tmp_path: Path) -> None:
    stale = tmp_path / "out.partial"
    stale.mkdir()
    (stale / ".weightlens-partial").touch()
    (stale / "model-00009-of-00009.safetensors").write_text("old")
    with CheckpointWriter(tmp_path / "out", INFOS, plan="p") as writer:
        for name, tensor in TENSORS.items():
            writer.write(name, tensor)
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["model.safetensors"]


def test_an_output_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(OutputError, match="is a file"):
        CheckpointWriter(tmp_path / "out", INFOS, plan="p")


def test_a_second_run_into_the_same_output_is_refused(tmp_path: Path) -> None:
    with CheckpointWriter(tmp_path / "out", INFOS, plan="p") as writer:
        with (
            pytest.raises(OutputError, match="another run"),
            CheckpointWriter(tmp_path / "out", INFOS, plan="p"),
        ):
            pass
        for name, tensor in TENSORS.items():
            writer.write(name, tensor)
    assert torch.equal(load_file(tmp_path / "out" / "model.safetensors")["a"], TENSORS["a"])


def test_an_output_behind_a_link_is_written_where_it_points(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with CheckpointWriter(tmp_path / "link", INFOS, plan="p") as writer:
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


class Killed(BaseException):
    """Stands for what ends a run from outside."""


def begin(out: Path, *names: str, error: BaseException | None = None, plan: str = "p") -> None:
    """Finishes some tensors, and ends there."""
    with CheckpointWriter(out, INFOS, plan=plan) as writer:
        for name in names:
            writer.write(name, TENSORS[name])
            writer.finish(name, writer.digest(name), {"of": name})
        raise error or Killed


def complete(out: Path, *, plan: str = "p", fresh: bool = False, overwrite: bool = False) -> set:
    """Writes what is not finished; gives the names of what was."""
    with CheckpointWriter(out, INFOS, plan=plan, fresh=fresh, overwrite=overwrite) as writer:
        assert writer.finished == {name: {"of": name} for name in writer.finished}
        for name in INFOS.keys() - writer.finished:
            writer.write(name, TENSORS[name])
            writer.finish(name, writer.digest(name))
        writer.verify()
    loaded = load_file(out / "model.safetensors")
    assert all(torch.equal(loaded[name], t) for name, t in TENSORS.items())
    assert [p.name for p in out.iterdir()] == ["model.safetensors"]
    assert not out.with_name(f"{out.name}.partial").exists()
    return set(writer.finished)


def test_with_a_plan_what_is_finished_is_not_asked_for_again(tmp_path: Path) -> None:
    with pytest.raises(Killed):
        begin(tmp_path / "out", "c", "a", "empty")
    (tmp_path / "out.partial" / "config.json").write_text("of the run before")
    (tmp_path / "out.partial" / "templates").mkdir()
    assert complete(tmp_path / "out") == {"c", "a", "empty"}


def test_with_a_plan_blocks_come_in_order(tmp_path: Path) -> None:
    flat = TENSORS["a"].flatten()
    with pytest.raises(AssertionError, match="a: blocks out of order"), \
            CheckpointWriter(tmp_path / "out", INFOS, plan="p") as writer:  # fmt: skip
        writer.write("a", flat[4:], start=4)
    with pytest.raises(AssertionError, match="a: not written in full"), \
            CheckpointWriter(tmp_path / "out", INFOS, plan="p") as writer:  # fmt: skip
        writer.write("a", flat[:4])
        writer.finish("a", writer.digest("a"))
    with CheckpointWriter(tmp_path / "out", {"a": INFOS["a"]}, plan="p") as writer:
        writer.write("a", flat[:4])
        writer.write("a", flat[4:], start=4)
        writer.finish("a", writer.digest("a"))
        writer.verify()


def test_finished_tensors_of_another_plan_are_refused_unless_fresh(tmp_path: Path) -> None:
    with pytest.raises(Killed):
        begin(tmp_path / "out", "a", "b")
    before = {p.name: p.read_bytes() for p in (tmp_path / "out.partial").iterdir()}
    with pytest.raises(OutputError, match=r"holds 2 finished tensors.* --fresh starts anew"):
        complete(tmp_path / "out", plan="another")
    assert {p.name: p.read_bytes() for p in (tmp_path / "out.partial").iterdir()} == before
    assert complete(tmp_path / "out", plan="another", fresh=True) == set()


def test_fresh_starts_the_same_plan_anew_too(tmp_path: Path) -> None:
    with pytest.raises(Killed):
        begin(tmp_path / "out", "a", "b")
    assert complete(tmp_path / "out", fresh=True) == set()


def test_where_nothing_is_finished_nothing_is_kept_or_refused(tmp_path: Path) -> None:
    with pytest.raises(Killed):
        begin(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
    partial = tmp_path / "out.partial"
    partial.mkdir()  # killed before the marker was made: an empty folder of ours
    assert complete(tmp_path / "out") == set()
    partial.mkdir()
    (partial / MARKER).touch()
    journal = Journal(partial / JOURNAL)
    journal.begin("another")
    journal.close()
    (tmp_path / "out" / PROVENANCE_FILE).touch()
    assert complete(tmp_path / "out", overwrite=True) == set()


def test_an_input_at_fault_removes_what_is_finished_all_the_same(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at fault"):
        begin(tmp_path / "out", "a", error=InputError("at fault"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("where", ["pwrite", "write", "fdatasync", "fsync"])
def test_a_full_disk_keeps_what_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    def full(*arguments: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    again = r"disk is full .* free some space and run the same command again: it goes on where"
    with pytest.raises(OutputError, match=again), \
            CheckpointWriter(tmp_path / "out", INFOS, plan="p") as writer:  # fmt: skip
        for name, tensor in TENSORS.items():
            writer.write(name, tensor)
            writer.finish(name, writer.digest(name), {"of": name})
            monkeypatch.setattr(os, where, full)
    monkeypatch.undo()
    assert complete(tmp_path / "out") >= {"a"}


def test_a_disk_too_small_for_the_shards_removes_what_it_allocated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    allocate, given = os.posix_fallocate, []

    def full(file: int, start: int, size: int) -> None:
        if given:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        given.append(size)
        allocate(file, start, size)

    monkeypatch.setattr(write, "plan_shards", lambda infos: plan_shards(infos, limit=30))
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OutputError, match="partial output was removed"):
        CheckpointWriter(tmp_path / "out", INFOS, plan="p").__enter__()
    assert given
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", ["missing", "short", "header", "zeros"])
def test_the_journal_is_believed_only_as_far_as_the_shards_bear_it_out(
    tmp_path: Path, damage: str
) -> None:
    with pytest.raises(Killed):
        begin(tmp_path / "out", "a", "b", "empty")
    shard = tmp_path / "out.partial" / "model.safetensors"
    raw = shard.read_bytes()
    match damage:
        case "missing":
            shard.unlink()
        case "short":
            shard.write_bytes(raw[:-1])
        case "header":
            shard.write_bytes(raw.replace(b"F32", b"I32"))
        case "zeros":
            first = raw.index(TENSORS["a"].numpy().tobytes())
            shard.write_bytes(raw[:first] + bytes(24) + raw[first + 24 :])
    assert complete(tmp_path / "out") == ({"b", "empty"} if damage == "zeros" else {"empty"})


def replaced_halfway(tmp_path: Path) -> Path:
    """Killed between the two renames of an overwrite: OUT is absent."""
    out = tmp_path / "out"
    out.mkdir()
    (out / PROVENANCE_FILE).write_text("old")
    partial = tmp_path / "out.partial"
    with pytest.raises(Killed), \
            CheckpointWriter(out, INFOS, plan="p", overwrite=True) as writer:  # fmt: skip
        for name, tensor in TENSORS.items():
            writer.write(name, tensor)
            writer.finish(name, writer.digest(name), {"of": name})
        raise Killed
    out.rename(partial / REPLACED)
    return out


def test_a_kill_between_the_renames_of_an_overwrite_loses_nothing(tmp_path: Path) -> None:
    out = replaced_halfway(tmp_path)
    with pytest.raises(OutputError, match="not empty"):
        complete(out)
    assert (out / PROVENANCE_FILE).read_text() == "old"
    assert complete(out, overwrite=True) == set(TENSORS)


def test_what_was_replaced_is_kept_where_something_else_has_its_place(tmp_path: Path) -> None:
    out = replaced_halfway(tmp_path)
    out.mkdir()
    (out / PROVENANCE_FILE).write_text("third")
    for fresh in (False, True):
        with pytest.raises(OutputError, match="move one of the two away"):
            complete(out, overwrite=True, fresh=fresh)
    assert (tmp_path / "out.partial" / REPLACED / PROVENANCE_FILE).read_text() == "old"
    assert (out / PROVENANCE_FILE).read_text() == "third"


def test_where_the_second_rename_fails_the_first_is_undone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / PROVENANCE_FILE).write_text("old")
    rename = os.rename

    def failing(source: Path, target: Path) -> None:
        if str(source).endswith(".partial"):
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(source))
        rename(source, target)

    monkeypatch.setattr(os, "rename", failing)
    with pytest.raises(OutputError, match="cannot be written"), \
            CheckpointWriter(out, INFOS, plan="p", overwrite=True) as writer:  # fmt: skip
        for name, tensor in TENSORS.items():
            writer.write(name, tensor)
            writer.finish(name, writer.digest(name), {"of": name})
    assert (out / PROVENANCE_FILE).read_text() == "old"
    monkeypatch.undo()
    assert complete(out, overwrite=True) == set(TENSORS)


def test_an_interrupted_writer_says_how_to_go_on(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt, match=r"2 of 4 tensors are in .*out\.partial: the same"):
        begin(tmp_path / "out", "a", "b", error=KeyboardInterrupt())
    assert complete(tmp_path / "out") == {"a", "b"}
