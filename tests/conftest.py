"""Fixtures that many tests share. Torch runs on one thread: two on a busy machine are slower."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from collections.abc import Callable
from typing import Any

import pytest
import torch
from checkpoints import Folders, tiny_llama

from weightlens.merge import processes

torch.set_num_threads(1)


Measured = Callable[[str], None]
_MEASURED = pytest.StashKey[list[str]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_MEASURED] = []


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A worker of pytest-xdist hands on what its tests measured."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["measured"] = session.config.stash[_MEASURED]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """What a worker measured joins the rest."""
    node.config.stash[_MEASURED] += node.workeroutput.get("measured", [])


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Prints what the tests measured, pass or fail."""
    if config.stash[_MEASURED]:
        terminalreporter.section("measured")
        for line in config.stash[_MEASURED]:
            terminalreporter.write_line(line)


@pytest.fixture(autouse=True)
def _cache_of_its_own(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No test finds, or leaves, factorisations in the user's cache."""
    name = f"cache-{abs(hash(request.node.nodeid)):x}"
    monkeypatch.setenv("WEIGHTLENS_CACHE", str(tmp_path_factory.getbasetemp() / name))
    monkeypatch.delenv("WEIGHTLENS_CACHE_GIB", raising=False)


@pytest.fixture(autouse=True)
def _in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests look into the process that they run in, so that merges have threads there."""
    monkeypatch.setattr(processes, "can_fork", lambda: False)


@pytest.fixture(scope="session")
def measured(request: pytest.FixtureRequest) -> Measured:
    """Tell it a figure and it is printed at the end of the run."""
    return request.config.stash[_MEASURED].append


@pytest.fixture
def generator() -> torch.Generator:
    """A generator with a fixed seed."""
    return torch.Generator().manual_seed(20250722)


@pytest.fixture
def folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    """A tiny base, a full fine-tune and an adapter of it, as folders."""
    return tiny_llama(tmp_path_factory.mktemp("models"))
