"""A Hub on this machine for every test that asks for one."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from loopback import Hub, serving


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """huggingface_hub's cache, empty."""
    return tmp_path / "hub-cache"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, cache: Path) -> Iterator[Hub]:
    """The Hub that huggingface_hub asks in this test."""
    with serving() as hub, hub.in_use(monkeypatch, cache):
        yield hub
