"""Tensors read ahead, and the deltas that come of what was read."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoints import Folders, llama_tensors, matrices, moved, write_model
from safetensors.torch import load_file, save_file
from torch import Tensor

from weightlens.checkpoint.model import Model
from weightlens.checkpoint.read import FolderWeights, MemoryWeights
from weightlens.errors import NonFiniteTensor
from weightlens.survey.overlap import measure_overlap
from weightlens.survey.reading import fetch, own_weights, read_ahead, taken
from weightlens.survey.result import ModelRecord

NAME = "model.layers.0.mlp.up_proj.weight"


class Jobs:
    """Numbers, each from a job that says when it was asked for, begun and done."""

    def __init__(self, count: int, *, broken: int | None = None) -> None:
        self.count, self.broken = count, broken
        self.asked, self.begun, self.done = 0, 0, 0
        self.running, self.most_at_once = 0, 0
        self.threads: set[int] = set()

    def __iter__(self) -> Iterator[Callable[[], int]]:
        for number in range(self.count):
            self.asked += 1
            yield partial(self.work, number)

    def work(self, number: int) -> int:
        self.begun += 1
        self.running += 1
        self.most_at_once = max(self.most_at_once, self.running)
        self.threads.add(threading.get_ident())
        time.sleep(0.002)
        self.running -= 1
        self.done += 1
        if number == self.broken:
            raise OSError(f"job {number}")
        return number

    def settled(self, done: int) -> None:
        """Waits until so many are done, and a while longer for one too many."""
        deadline = time.monotonic() + 10
        while self.done < done and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(0.01)


def test_results_come_in_order() -> None:
    jobs = Jobs(20)
    assert list(read_ahead(iter(jobs))) == list(range(20))
    assert list(read_ahead(iter([]))) == []


def test_the_next_is_read_while_this_one_is_used_and_no_other() -> None:
    jobs = Jobs(5)
    for number in read_ahead(iter(jobs)):
        ahead = min(number + 2, 5)
        jobs.settled(ahead)
        assert (jobs.asked, jobs.begun, jobs.done) == (ahead, ahead, ahead)


def test_one_thread_reads_and_it_is_not_the_callers() -> None:
    jobs = Jobs(10)
    assert len(list(read_ahead(iter(jobs)))) == 10
    assert jobs.most_at_once == 1
    assert len(jobs.threads) == 1
    assert threading.get_ident() not in jobs.threads


@pytest.mark.parametrize("broken", [0, 1, 3, 4])
def test_what_a_job_raises_is_raised_in_its_turn(broken: int) -> None:
    """It fails while the one before it is used, which is not lost for it."""
    jobs, got = Jobs(5, broken=broken), []
    with pytest.raises(OSError, match=f"job {broken}"):
        for number in read_ahead(iter(jobs)):
            jobs.settled(min(number + 2, 5))
            got.append(number)
    assert got == list(range(broken))
    assert jobs.begun == broken + 1


def test_a_caller_that_stops_waits_for_one_job_at_most() -> None:
    jobs = Jobs(5)
    results = read_ahead(iter(jobs))
    assert next(results) == 0
    assert isinstance(results, Iterator)
    results.close()  # type: ignore[attr-defined]
    assert jobs.begun == jobs.done <= 2
    assert jobs.asked == 2
    assert not any(thread.name.startswith("reading") for thread in threading.enumerate())


def test_bytes_alone_are_fetched_and_only_where_reading_takes_time(
    folders: Folders, tmp_path: Path
) -> None:
    halves = {n: t.bfloat16() for n, t in llama_tensors(0).items()}
    weights = FolderWeights(write_model(tmp_path / "halves", halves))
    fetched = fetch(weights, NAME)
    assert fetched is not None
    assert fetched.dtype == torch.bfloat16
    assert torch.equal(taken(weights, NAME, fetched), halves[NAME].float())
    assert torch.equal(taken(weights, NAME, None), halves[NAME].float())
    memory = MemoryWeights(halves, "a state dict")
    assert fetch(memory, NAME) is None
    assert torch.equal(taken(memory, NAME, None), halves[NAME].float())
    assert fetch(None, NAME) is None
    assert own_weights(Model("full", weights)) is weights


def test_what_is_wrong_with_a_tensor_shows_when_it_is_taken(tmp_path: Path) -> None:
    """Not in the reading thread: the error belongs to the tensor in hand."""
    tensors = llama_tensors(0)
    tensors[NAME][3, 4] = torch.nan
    weights = FolderWeights(write_model(tmp_path / "broken", tensors))
    fetched = fetch(weights, NAME)
    with pytest.raises(NonFiniteTensor, match=f"{NAME} holds NaN"):
        taken(weights, NAME, fetched)


def test_a_file_that_is_cut_short_is_told_in_its_turn(folders: Folders) -> None:
    """Between the header and the reading somebody truncates it: tensors before it are measured."""
    from weightlens.errors import CheckpointError

    file = folders.full / "model.safetensors"
    done = []

    def progress(step: object) -> None:
        done.append(step)
        if len(done) == 3:
            with file.open("r+b") as stream:
                stream.truncate(2000)

    with pytest.raises(CheckpointError, match="truncated"):
        measure_overlap(folders.base, [folders.full], progress=progress)
    assert len(done) >= 3


def test_state_dicts_are_left_as_they_were() -> None:
    """Deltas are formed in place only where the memory is our own."""
    base = llama_tensors(0)
    tuned = moved(base, 1) | {NAME: base[NAME]}  # one tensor is the base's very own
    before = [{n: t.clone() for n, t in model.items()} for model in (base, tuned)]
    first = measure_overlap(base, [tuned, base])
    for model, copy in zip((base, tuned), before, strict=True):
        assert all(torch.equal(model[name], copy[name]) for name in copy)
    assert first == measure_overlap(base, [tuned, base])
    (record,) = (r for r in first.models[0].matrices if r.name == NAME)
    assert record.column.overlap is None


def test_folders_and_state_dicts_of_the_same_weights_read_the_same(folders: Folders) -> None:
    base, tuned = (load_file(f / "model.safetensors") for f in (folders.base, folders.full))
    (ours,) = measure_overlap(folders.base, [folders.full]).models
    (theirs,) = measure_overlap(base, [tuned]).models
    assert {r.name: r for r in ours.matrices} == {r.name: r for r in theirs.matrices}


BLOCK = 16


def block_scaled(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """8-bit floats, a scale for each block of 16 x 16, and what the two stand for."""
    m, n = matrix.shape
    padded = torch.zeros(-(-m // BLOCK) * BLOCK, -(-n // BLOCK) * BLOCK)
    padded[:m, :n] = matrix
    blocks = padded.unflatten(0, (-1, BLOCK)).unflatten(2, (-1, BLOCK))
    scales = blocks.abs().amax(dim=(1, 3)) / 448
    expanded = scales.repeat_interleave(BLOCK, 0).repeat_interleave(BLOCK, 1)[:m, :n]
    stored = (matrix / expanded).to(torch.float8_e4m3fn)
    return stored, scales, stored.float() * expanded


@pytest.fixture
def eights(folders: Folders, tmp_path: Path) -> tuple[Path, Path, dict[str, Tensor]]:
    """A base in bfloat16, a fine-tune in block-scaled 8-bit floats but for one matrix, and the
    latter dequantised."""
    base = {n: t.bfloat16() for n, t in llama_tensors(0).items()}
    tuned = moved(base, 1)
    saved: dict[str, Tensor] = {}
    plain: dict[str, Tensor] = {}
    for name, tensor in tuned.items():
        saved[name] = plain[name] = tensor
        if name in matrices(tuned) and name != NAME:
            saved[name], saved[f"{name}_scale_inv"], plain[name] = block_scaled(tensor.float())
    one, two = write_model(tmp_path / "base", base), write_model(tmp_path / "eights", tuned)
    save_file(saved, two / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((two / "config.json").read_text())
    described = {"quant_method": "fp8", "weight_block_size": [BLOCK, BLOCK]}
    (two / "config.json").write_text(json.dumps(config | {"quantization_config": described}))
    return one, two, plain


def by_name(model: ModelRecord) -> dict[str, dict[str, Any]]:
    found = {}
    for record in model.matrices:
        found[record.name] = record.model_dump()
        del found[record.name]["delta"]["rounding_share"]
    return found


def test_scaled_weights_read_like_what_they_stand_for(
    eights: tuple[Path, Path, dict[str, Tensor]],
) -> None:
    """Exactly: no rounding to bfloat16 in between, though `stored` would do that."""
    base, tuned, plain = eights
    (ours,) = measure_overlap(base, [tuned]).models
    (theirs,) = measure_overlap(base, [plain]).models
    assert by_name(ours) == by_name(theirs)
    assert len(ours.matrices) == 14
    assert not any("scale" in skipped.name for skipped in ours.skipped)


def test_scaled_weights_have_no_share_of_rounding(
    eights: tuple[Path, Path, dict[str, Tensor]],
) -> None:
    """Their rounding is that of 8 bits and of the scales, which no ulp tells."""
    base, tuned, _ = eights
    (model,) = measure_overlap(base, [tuned]).models
    known = {r.name for r in model.matrices if r.delta.rounding_share is not None}
    assert known == {NAME}


def test_a_base_in_8_bits_reads_like_what_it_stands_for(
    eights: tuple[Path, Path, dict[str, Tensor]],
) -> None:
    bfloat16, scaled, plain = eights
    tuned = load_file(bfloat16 / "model.safetensors")
    (ours,) = measure_overlap(scaled, [bfloat16]).models
    (theirs,) = measure_overlap(plain, [tuned]).models
    assert by_name(ours) == by_name(theirs)
