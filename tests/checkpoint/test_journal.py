"""The journal: what counts of a file that was torn or damaged."""

import json
import math
from pathlib import Path

import pytest

from weightlens.checkpoint.journal import FORMAT, Finished, Journal, fields_of, line_of

NOTES = [{"name": "ä", "norm": 0.1}, None, [1, 2.5, "x\ny"]]


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """A journal of three tensors."""
    file = tmp_path / "journal"
    journal = Journal(file)
    journal.begin("the plan")
    for i, notes in enumerate(NOTES):
        journal.append(f"t{i}", f"digest {i}", notes)
    journal.close()
    return file


def test_what_is_added_is_read_back(written: Path) -> None:
    journal = Journal(written)
    assert journal.plan == "the plan"
    assert journal.finished == {
        f"t{i}": Finished(f"digest {i}", notes) for i, notes in enumerate(NOTES)
    }


def test_what_was_added_is_known_without_reading(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    assert (journal.plan, journal.finished) == (None, {})
    journal.begin("p")
    journal.append("t", "d", None)
    journal.close()
    assert (journal.plan, journal.finished) == ("p", {"t": Finished("d", None)})


def test_a_journal_cut_anywhere_keeps_its_whole_lines_and_goes_on_after_them(
    written: Path,
) -> None:
    raw = written.read_bytes()
    for length in range(len(raw)):
        written.write_bytes(raw[:length])
        journal = Journal(written)
        whole = raw[:length].count(b"\n")
        assert journal.plan == ("the plan" if whole else None)
        assert list(journal.finished) == [f"t{i}" for i in range(whole - 1)]
        journal.resume()
        journal.append("next", "d", [])
        journal.close()
        if whole:
            assert list(Journal(written).finished) == [*(f"t{i}" for i in range(whole - 1)), "next"]


def test_a_damaged_byte_ends_what_counts(written: Path) -> None:
    raw = written.read_bytes()
    for place in range(len(raw)):
        written.write_bytes(raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :])
        before = raw[:place].count(b"\n")
        journal = Journal(written)
        assert journal.plan == ("the plan" if before else None)
        assert list(journal.finished) == [f"t{i}" for i in range(before - 1)]


def test_zeros_after_a_loss_of_power_do_not_count(written: Path) -> None:
    whole = written.read_bytes()
    written.write_bytes(whole + bytes(4096))
    journal = Journal(written)
    assert len(journal.finished) == 3
    journal.resume()
    journal.close()
    assert written.read_bytes() == whole


def test_of_a_tensor_named_twice_the_last_line_counts(written: Path) -> None:
    journal = Journal(written)
    journal.resume()
    journal.append("t1", "again", 1)
    journal.sync()
    journal.close()
    assert Journal(written).finished["t1"] == Finished("again", 1)


def test_beginning_forgets_what_was_there(written: Path) -> None:
    journal = Journal(written)
    journal.begin("another")
    journal.close()
    assert journal.finished == {}
    assert (Journal(written).plan, Journal(written).finished) == ("another", {})


def test_another_format_names_no_plan_but_has_its_tensors(tmp_path: Path) -> None:
    """So that nobody takes it for a journal of nothing."""
    file = tmp_path / "journal"
    first = {"format": FORMAT + 1, "plan": "p"}
    file.write_bytes(line_of(first) + line_of({"tensor": "t", "bytes": 3}))
    journal = Journal(file)
    assert journal.plan is None
    assert list(journal.finished) == ["t"]


def test_a_line_is_its_checksum_and_json() -> None:
    line = line_of({"a": 1})
    checksum, text = line.split()
    assert json.loads(text) == {"a": 1}
    assert len(checksum) == 16
    assert fields_of(line) == {"a": 1}


def test_notes_that_are_no_json_are_refused_and_numbers_come_back_as_they_were(
    tmp_path: Path,
) -> None:
    journal = Journal(tmp_path / "journal")
    journal.begin("p")
    with pytest.raises(TypeError):
        journal.append("t", "d", object())
    journal.append("t", "d", [0.1 + 0.2, math.inf, math.nan])
    journal.close()
    third, infinite, nan = Journal(tmp_path / "journal").finished["t"].notes
    assert third == 0.1 + 0.2
    assert math.isinf(infinite)
    assert math.isnan(nan)
