"""What every result and record has in common, on screen, in JSON and on disk."""

import contextlib
import os
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from weightlens.errors import OutputError


class Record(BaseModel):
    """Immutable, no unknown fields, NaN and infinities written as null."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, ser_json_inf_nan="null", populate_by_name=True
    )

    def to_json(self) -> str:
        """The record as indented JSON text, ending in a newline."""
        return self.model_dump_json(indent=1, by_alias=True) + "\n"


def write_output(file: Path, text: str) -> None:
    """Writes what a user has asked for: whole, or into a device or a pipe.

    Raises OutputError where the file cannot be written.
    """
    try:
        if file.exists() and not file.is_file():
            file.write_text(text, encoding="utf-8")
        else:
            write_whole(file.resolve(), text)  # a link stays one
    except (OSError, RuntimeError) as error:  # the latter: a link to itself
        reason = getattr(error, "strerror", None) or error
        raise OutputError(f"{file}: cannot be written ({reason})") from error


def write_whole(file: Path, text: str) -> None:
    """Writes a text file that is whole or as it was before, whenever the program ends.

    Raises OSError.
    """
    beside = file.with_name(f"{file.name}.{os.getpid()}.partial")
    try:
        beside.write_text(text, encoding="utf-8")
        os.replace(beside, file)
    finally:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
