"""What is written comes to the disk beside the work, and never much later."""

import errno
from threading import Event

import pytest

from weightlens.checkpoint import syncing
from weightlens.checkpoint.syncing import Syncing


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(syncing, "BEGIN_BYTES", 10)


def test_syncing_begins_beside_the_writing_once_there_is_enough() -> None:
    calls: list[int] = []
    beside = Syncing(lambda: calls.append(1))
    beside.wrote(9)
    assert calls == []
    beside.wrote(1)
    beside.close()
    assert calls == [1]


def test_nobody_waits_for_the_disk_and_the_next_syncing_begins_when_one_has_ended() -> None:
    release, began, calls = Event(), Event(), []

    def slow() -> None:
        calls.append(1)
        began.set()
        assert release.wait(10)

    beside = Syncing(slow)
    beside.wrote(10)
    assert began.wait(10)
    beside.wrote(1000)
    assert len(calls) == 1
    release.set()
    assert beside._under_way is not None
    beside._under_way.result(10)
    began.clear()
    beside.wrote(1)
    assert began.wait(10)
    beside.close()
    assert len(calls) == 2


def test_a_failure_is_told_at_the_next_chance() -> None:
    def full() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    failing = Syncing(full)
    failing.wrote(10)
    failing.close()
    failing.wrote(9)
    with pytest.raises(OSError, match="No space"):
        failing.wrote(1)


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
