"""What is written comes to the disk beside the work, and never much later."""

import errno
from threading import Event

import pytest

from weightlens.checkpoint import syncing
from weightlens.checkpoint.syncing import Syncing


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(syncing, "BEGIN_BYTES", 10)
    monkeypatch.setattr(syncing, "SYNC_BYTES", 30)


def test_syncing_begins_beside_the_writing_once_there_is_enough() -> None:
    calls: list[int] = []
    beside = Syncing(lambda: calls.append(1))
    beside.wrote(9)
    assert calls == []
    beside.wrote(1)
    beside.close()
    assert calls == [1]


def test_writing_waits_where_too_much_is_not_on_the_disk() -> None:
    """While the first 10 bytes are under way, 29 more may be written; the 30th waits for them."""
    release, began = Event(), Event()

    def slow() -> None:
        began.set()
        assert release.wait(10)

    beside = Syncing(slow)
    beside.wrote(10)
    assert began.wait(10)
    beside.wrote(29)
    began.clear()
    release.set()
    beside.wrote(1)
    assert began.wait(10)
    beside.close()


def test_finishing_syncs_what_is_left_and_a_failure_is_not_lost() -> None:
    calls: list[int] = []
    beside = Syncing(lambda: calls.append(1))
    beside.wrote(1)
    beside.finish()
    assert calls == [1]

    def full() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    failing = Syncing(full)
    failing.wrote(10)
    with pytest.raises(OSError, match="No space"):
        failing.finish()
    failing.close()
