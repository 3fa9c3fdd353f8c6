"""Jobs done side by side: their results, their order, and what happens when one fails."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from checkpoints import llama_tensors, moved, write_model
from worded import tensors_of

from weightlens.errors import NonFiniteTensor, OutputError
from weightlens.merge import processes, running, writing
from weightlens.merge.engine import run_merge
from weightlens.merge.processes import Processes
from weightlens.merge.work import (
    Stopped,
    Tell,
    Threads,
    Work,
    Workers,
    single_threaded,
    worker_count,
)

METHODS = {
    "ties": "density: 0.4, weight: 0.7",
    "della": "density: 0.6, epsilon: 0.2, weight: 0.7",
    "model_stock": "",
    "dare_ties": "density: 0.3, weight: 0.7",
    "sce": "",
}
KINDS = [Threads, Processes]


def nothing(*_: object) -> None: ...


def each(workers: Workers, items: list[int], do: Callable[[int], object]) -> dict[int, object]:
    """Does items that are as large as they say; returns what each came to, in that order."""
    done: dict[int, object] = {}
    work = Work(items, lambda item: item, lambda item, tell: do(item), done.__setitem__)
    workers.each(work)
    return done


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [1, 2, 5])
def test_every_item_is_done_once_and_told_in_the_callers_thread(
    kind: type[Workers], count: int
) -> None:
    told, came, items = [], [], list(range(40))

    def tell(item: int, square: int) -> None:
        assert threading.current_thread() is threading.main_thread()
        told.append((item, square))

    def do(item: int, further: Tell) -> int:
        further(item)
        return item**2

    kind(count).each(Work(items, lambda item: item, do, tell, came.append))
    assert sorted(told) == [(item, item**2) for item in items]
    assert sorted(came) == items


@pytest.mark.parametrize("kind", KINDS)
def test_the_largest_come_first_and_equals_in_their_order(kind: type[Workers]) -> None:
    done: list[tuple[int, str]] = []
    items = [(1, "a"), (3, "b"), (2, "c"), (3, "d")]
    kind(1).each(Work(items, lambda item: item[0], nothing, lambda item, _: done.append(item)))
    assert done == [(3, "b"), (3, "d"), (2, "c"), (1, "a")]


def test_no_more_workers_than_asked_for_or_needed() -> None:
    def who(_: int) -> tuple[int, str]:
        time.sleep(0.001)
        return os.getpid(), threading.current_thread().name

    for items, most in (([1] * 30, 3), ([1, 2], 2), ([], 0)):
        threads = {str(who) for who in each(Threads(3), list(items), who).values()}
        assert len(threads) <= most
        assert str(os.getpid()) in "".join(threads) or not items
        forked = each(Processes(3), list(items), lambda _: os.getpid())
        assert len(set(forked.values())) <= most
        assert os.getpid() not in forked.values()
    assert worker_count(7) == 7
    assert worker_count() == len(os.sched_getaffinity(0)) == Threads().count


def test_the_first_exception_ends_the_other_threads_and_is_the_one_raised() -> None:
    """The others wait until they are told; none that was not begun is begun after that."""
    workers, begun, stopped = Threads(2), [], []

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


def test_the_first_exception_ends_the_other_processes_and_is_the_one_raised() -> None:
    """The others would sleep for an hour."""

    def do(item: int) -> None:
        if item == 99:
            raise NonFiniteTensor("the first")
        time.sleep(3600)

    with pytest.raises(NonFiniteTensor, match="the first") as caught:
        each(Processes(4), list(range(100)), do)
    (where,) = caught.value.__notes__
    assert "Traceback" in where
    assert "in do" in where
    assert not multiprocessing.active_children()


def test_what_an_exception_says_comes_from_a_process_whatever_it_holds() -> None:
    class Odd(Exception):
        def __init__(self, first: int, second: int) -> None:
            super().__init__(f"odd: {first} {second}")

    def fail(_: int) -> None:
        raise Odd(1, 2)

    with pytest.raises(RuntimeError, match="Odd: odd: 1 2"):
        each(Processes(1), [1], fail)
    with pytest.raises(OSError, match="No space") as caught:
        each(Processes(1), [1], lambda _: os.write(os.open("/dev/full", os.O_WRONLY), b"x"))
    assert caught.value.errno == 28


@pytest.mark.parametrize("kind", KINDS)
def test_what_telling_raises_ends_the_work_too(kind: type[Workers]) -> None:
    begun: list[int] = []

    def tell(item: int, _: object) -> None:
        begun.append(item)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        kind(1).each(Work(list(range(50)), lambda item: 1, nothing, tell))
    assert len(begun) == 1
    assert not multiprocessing.active_children()


def test_a_process_that_is_killed_is_told_of() -> None:
    with pytest.raises(OutputError, match=r"ended before its time \(exit code -9\).*--workers 1"):
        each(Processes(2), [1, 2], lambda _: os.kill(os.getpid(), signal.SIGKILL))


PARENT = """
import os, sys, time
from weightlens.merge.processes import Processes
from weightlens.merge.work import Work

def do(item, tell):
    print(os.getpid(), flush=True)
    time.sleep(3600)

Processes(2).each(Work([1, 2], int, do, print))
"""


def test_processes_die_with_the_one_that_they_work_for() -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    workers = [int(parent.stdout.readline()) for _ in range(2)]
    parent.kill()
    parent.wait()
    # the pipe ends when nobody is left who could write into it
    assert parent.stdout.read() == ""
    deadline = time.monotonic() + 30
    while any(runs(worker) for worker in workers):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def runs(process: int) -> bool:
    """Whether it does, and not only waits for somebody to ask how it ended."""
    try:
        state = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return False
    return state.rpartition(")")[2].split()[0] not in "ZX"


@pytest.mark.parametrize("kind", KINDS)
def test_one_who_waits_is_told_so_now_and_then(
    kind: type[Workers], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (processes, sys.modules[Threads.__module__]):
        monkeypatch.setattr(module, "WAIT", 0.01)
    ticks: list[int] = []
    kind(1).each(Work([1], int, lambda *_: time.sleep(0.1), nothing, idle=lambda: ticks.append(1)))
    assert len(ticks) >= 2


def test_processes_are_forked_where_that_does_no_harm() -> None:
    """A process of its own has no threads; one with a thread, or of a pool, is not forked."""
    told = subprocess.check_output(
        [sys.executable, "-c", """
import multiprocessing, threading
from weightlens.merge.processes import can_fork, workers_here
print(can_fork(), type(workers_here(2)).__name__)
import tqdm
list(tqdm.tqdm([1, 2], disable=True))  # begins a thread that stays
assert threading.active_count() == 2
print(can_fork(), type(workers_here(2)).__name__)
end = threading.Event()
threading.Thread(target=end.wait).start()
print(can_fork(), type(workers_here(2)).__name__)
end.set()
with multiprocessing.get_context("fork").Pool(1) as pool:
    print(pool.apply(can_fork))
"""], text=True)  # fmt: skip
    assert told.split() == [*["True", "Processes"] * 2, "False", "Threads", "False"]


@pytest.mark.parametrize("kind", KINDS)
def test_torch_has_one_thread_in_there_and_as_many_as_before_afterwards(
    kind: type[Workers],
) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        inside = each(kind(2), [1, 2, 3], lambda _: torch.get_num_threads())
        assert list(inside.values()) == [1, 1, 1]
        assert torch.get_num_threads() == 3
        with pytest.raises(ZeroDivisionError):
            each(kind(2), [1], lambda _: 1 // 0)
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
def test_the_number_and_kind_of_workers_changes_no_byte(
    models: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """Nor what is recorded: digests of what was read and written come from the workers."""
    monkeypatch.setattr(running, "BLOCK", 100)
    monkeypatch.setattr(writing, "TOLD_BYTES", 150)
    outputs = set()
    for kind in KINDS:
        monkeypatch.setattr(writing, "workers_here", kind)
        for workers in (1, 3):
            out = models / f"out{kind.__name__}{workers}"
            run_merge(recipe(models, method), out, workers=workers, verify=True)
            outputs.add(tuple(file.read_bytes() for file in sorted(out.iterdir())))
    assert len(outputs) == 1
    base = tensors_of(models / "base")
    assert any(not torch.equal(t, base[name]) for name, t in tensors_of(out).items())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("workers", [1, 4])
def test_a_tensor_that_cannot_be_read_ends_the_merge_by_its_own_error(
    models: Path, monkeypatch: pytest.MonkeyPatch, kind: type[Workers], workers: int
) -> None:
    monkeypatch.setattr(writing, "workers_here", kind)
    tensors = moved(llama_tensors(0, dtype=torch.bfloat16), 2)
    tensors["model.layers.1.mlp.up_proj.weight"][0, 0] = torch.inf
    write_model(models / "two", tensors)
    with pytest.raises(NonFiniteTensor, match=r"two: model\.layers\.1\.mlp\.up_proj\.weight holds"):
        run_merge(recipe(models, "ties"), models / "out", workers=workers)
    assert not list(models.glob("out*"))
    assert torch.get_num_threads() == 1
