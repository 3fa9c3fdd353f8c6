"""Files that a user asks for: whole, or an error that says why not."""

import os
from pathlib import Path

import pytest

from weightlens.errors import OutputError
from weightlens.record import write_output


def test_a_link_stays_one_and_its_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("before")
    (tmp_path / "link").symlink_to("file")
    write_output(tmp_path / "link", "after")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "file").read_text() == "after"
    assert len(list(tmp_path.iterdir())) == 2


def test_a_pipe_is_written_into(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    write_output(Path(f"/dev/fd/{writing}"), "text")
    assert os.read(reading, 9) == b"text"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full device here")
def test_a_full_device_is_no_internal_error() -> None:
    with pytest.raises(OutputError, match=r"/dev/full: cannot be written \(No space"):
        write_output(Path("/dev/full"), "text")


def test_a_link_to_itself_is_no_internal_error(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OutputError, match="loop: cannot be written"):
        write_output(tmp_path / "loop", "text")


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be written"):
        write_output(tmp_path / "no" / "file", "text")
