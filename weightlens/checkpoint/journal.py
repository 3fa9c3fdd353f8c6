"""A journal of finished tensors: what a run that was killed had done, and of which plan.

The first line names the journal's format and the plan, each further line one tensor. A line is the
xxh3-64 of its JSON, a space, the JSON. What follows the first line that is torn or damaged does not
count, and is cut off before anything is added.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xxhash

FORMAT = 1


@dataclass(frozen=True)
class Finished:
    """A tensor that is written. digest: of its bytes; notes: what the writer's user wants back."""

    digest: str
    notes: Any


def line_of(fields: dict[str, Any]) -> bytes:
    """A line with its checksum and its end. Raises TypeError for what is no JSON."""
    text = json.dumps(fields, separators=(",", ":")).encode()
    return f"{xxhash.xxh3_64_hexdigest(text)} ".encode() + text + b"\n"


def fields_of(line: bytes) -> dict[str, Any] | None:
    """What a line with its end says; None where it is torn or damaged."""
    checksum, _, text = line.removesuffix(b"\n").partition(b" ")
    if not line.endswith(b"\n") or checksum != xxhash.xxh3_64_hexdigest(text).encode():
        return None
    fields = json.loads(text)
    return fields if isinstance(fields, dict) else None


class Journal:
    """One file. plan: the plan that it names, None where its first line does not count or is of
    another format; finished: by tensor, where one is named twice the last line."""

    def __init__(self, path: Path) -> None:
        """Reads what is there, which may be nothing; writes nothing."""
        self.path = path
        self.plan: str | None = None
        self.finished: dict[str, Finished] = {}
        self._valid = 0
        self._file: int | None = None
        raw = path.read_bytes() if path.exists() else b""
        for line in raw.splitlines(keepends=True):
            fields = fields_of(line)
            if fields is None:
                break
            if self._valid == 0:
                self.plan = fields.get("plan") if fields.get("format") == FORMAT else None
            else:
                self._take(fields)
            self._valid += len(line)

    def _take(self, fields: dict[str, Any]) -> None:
        self.finished[str(fields.get("tensor"))] = Finished(
            str(fields.get("digest")), fields.get("notes")
        )

    def begin(self, plan: str) -> None:
        """Starts anew, for this plan."""
        self.plan, self.finished = plan, {}
        self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        self._write(line_of({"format": FORMAT, "plan": plan}))

    def resume(self) -> None:
        """Cuts the file back to its valid part; what is added follows that."""
        self._file = os.open(self.path, os.O_WRONLY | os.O_APPEND)
        os.ftruncate(self._file, self._valid)

    def append(self, tensor: str, digest: str, notes: Any) -> None:
        """Adds a finished tensor."""
        fields = {"tensor": tensor, "digest": digest, "notes": notes}
        self._write(line_of(fields))
        self._take(fields)

    def _write(self, line: bytes) -> None:
        assert self._file is not None, "neither begun nor resumed"
        while line:
            line = line[os.write(self._file, line) :]

    def sync(self) -> None:
        """Brings what was added to the disk."""
        assert self._file is not None, "neither begun nor resumed"
        os.fdatasync(self._file)

    def close(self) -> None:
        """Closes the file; what was read and added stays known."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
