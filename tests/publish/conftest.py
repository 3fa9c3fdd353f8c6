"""A Hub that takes uploads, asked with a token that may write, and folders to push there."""

import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from checkpoints import llama_tensors, write_adapter, write_model
from huggingface_hub.utils import _http
from loopback import Hub, serving
from loopback_uploads import Uploads, accept_uploads
from published import CARD


@pytest.fixture
def uploads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Uploads]:
    """The client waits for nothing between its tries."""
    quick = SimpleNamespace(sleep=lambda seconds: None, time=time.time)
    monkeypatch.setattr(_http, "time", quick)
    with serving() as hub, hub.in_use(monkeypatch, tmp_path / "hub-cache"):
        monkeypatch.setenv("HF_TOKEN", Hub.TOKEN)
        yield accept_uploads(hub)


@pytest.fixture
def hub(uploads: Uploads) -> Hub:
    """The Hub that the uploads go to."""
    return uploads.hub


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model in two files with its card."""
    folder = write_model(tmp_path / "model", llama_tensors(0), shards=2)
    (folder / "README.md").write_text(CARD)
    return folder


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    """An adapter with its card."""
    folder = write_adapter(tmp_path / "adapter", llama_tensors(0))
    (folder / "README.md").write_text(CARD)
    return folder
