"""Jobs done side by side: their results, their order, and what happens when one fails."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from checkpoints import llama_tensors, moved, write_model
from worded import tensors_of

from weightlens.errors import NonFiniteTensor
from weightlens.merge import running
from weightlens.merge.engine import run_merge
from weightlens.merge.work import Stopped, Workers, single_threaded

METHODS = {
    "ties": "density: 0.4, weight: 0.7",
    "della": "density: 0.6, epsilon: 0.2, weight: 0.7",
    "model_stock": "",
    "dare_ties": "density: 0.3, weight: 0.7",
    "sce": "",
}


def nothing(*_: object) -> None: ...


def each(workers: Workers, items: list[int], do: Callable[[int], None]) -> list[int]:
    """Does items that are as large as they say; returns them as they were finished."""
    done: list[int] = []
    workers.each(items, lambda item: item, do, done.append)
    return done


@pytest.mark.parametrize("count", [1, 2, 5])
def test_every_item_is_done_once_and_told_in_the_callers_thread(count: int) -> None:
    did, told = [], []

    def tell(item: int) -> None:
        assert threading.current_thread() is threading.main_thread()
        told.append(item)

    Workers(count).each(list(range(40)), lambda item: item, did.append, tell)
    assert sorted(did) == sorted(told) == list(range(40))


def test_the_largest_come_first_and_equals_in_their_order() -> None:
    did: list[tuple[int, str]] = []
    items = [(1, "a"), (3, "b"), (2, "c"), (3, "d")]
    Workers(1).each(items, lambda item: item[0], did.append, nothing)
    assert did == [(3, "b"), (3, "d"), (2, "c"), (1, "a")]


def test_no_more_threads_than_asked_for() -> None:
    names: set[str] = set()

    def note(_: int) -> None:
        names.add(threading.current_thread().name)
        time.sleep(0.001)

    each(Workers(3), list(range(30)), note)
    assert len(names) == 3
    assert Workers().count >= 1


def test_the_first_exception_ends_the_others_and_is_the_one_raised() -> None:
    """The others wait until they are told; none that was not begun is begun after that."""
    workers, begun, stopped = Workers(2), [], []

    def do(item: int) -> None:
        begun.append(item)
        if item == 99:
            raise NonFiniteTensor("the first")
        while True:
            try:
                workers.check()
            except Stopped:
                stopped.append(item)
                raise
            time.sleep(0.001)

    with pytest.raises(NonFiniteTensor, match="the first"):
        each(workers, list(range(100)), do)
    assert 0 < len(stopped) == len(begun) - 1 <= 3


def test_what_telling_raises_ends_the_work_too() -> None:
    begun: list[int] = []

    def tell(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Workers(1).each(list(range(50)), lambda item: 1, begun.append, tell)
    assert len(begun) < 50


def test_torch_has_one_thread_in_there_and_as_many_as_before_afterwards() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        inside: list[int] = []
        each(Workers(2), [1, 2, 3], lambda _: inside.append(torch.get_num_threads()))
        assert inside == [1, 1, 1]
        assert torch.get_num_threads() == 3
        with pytest.raises(ZeroDivisionError):
            each(Workers(2), [1], lambda _: 1 // 0)  # type: ignore[arg-type,return-value]
        assert torch.get_num_threads() == 3
        with single_threaded():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A base and two fine-tunes of it in bfloat16, many entries of which have equal deltas."""
    base = llama_tensors(0, dtype=torch.bfloat16)
    write_model(tmp_path / "base", base)
    for seed, name in enumerate(("one", "two"), start=1):
        write_model(tmp_path / name, moved(base, seed, by=0.01))
    return tmp_path


def recipe(models: Path, method: str) -> Path:
    listed = "\n".join(f"- {{model: {models / name}, parameters: {{{METHODS[method]}}}}}"
                       for name in ("one", "two"))  # fmt: skip
    top = "parameters: {select_topk: 0.3}\n" if method == "sce" else ""
    file = models / f"{method}.yaml"
    file.write_text(
        f"merge_method: {method}\nbase_model: {models / 'base'}\n{top}models:\n{listed}\n"
    )
    return file


@pytest.mark.parametrize("method", METHODS)
def test_the_number_of_workers_changes_no_byte(
    models: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    monkeypatch.setattr(running, "BLOCK", 100)
    outputs = set()
    for workers in (1, 2, 5):
        out = models / f"out{workers}"
        run_merge(recipe(models, method), out, workers=workers)
        outputs.add((out / "model.safetensors").read_bytes())
    assert len(outputs) == 1
    base = tensors_of(models / "base")
    assert any(not torch.equal(t, base[name]) for name, t in tensors_of(out).items())


@pytest.mark.parametrize("workers", [1, 4])
def test_a_tensor_that_cannot_be_read_ends_the_merge_by_its_own_error(
    models: Path, workers: int
) -> None:
    tensors = moved(llama_tensors(0, dtype=torch.bfloat16), 2)
    tensors["model.layers.1.mlp.up_proj.weight"][0, 0] = torch.inf
    write_model(models / "two", tensors)
    with pytest.raises(NonFiniteTensor, match=r"two: model\.layers\.1\.mlp\.up_proj\.weight holds"):
        run_merge(recipe(models, "ties"), models / "out", workers=workers)
    assert not list(models.glob("out*"))
    assert torch.get_num_threads() == 1
