"""What a push sends, or has sent."""

from typing import Literal

from pydantic import Field

from weightlens.hub.ways import Way
from weightlens.record import Record


class SentFile(Record):
    """One file of a push.

    how: a regular file of the repo, or a large one that lies in Xet or LFS storage; before the
    upload, what is to be expected. state: against what the repo held before.
    """

    path: str
    size: int
    how: Way
    state: Literal["new", "changed", "unchanged"]


class LeftOut(Record):
    """A file or folder that stays here, and why."""

    path: str
    reason: str


class PushReport(Record):
    """A push, done or planned.

    created: whether the repo was, or would be, made for it. private: as it is, or would be. commit,
    url, pull_request: None in a plan, and pull_request where none was asked for. removed: weights
    of an earlier push that go in the same commit. verified: whether every tensor has been compared
    with the checksums of the record of the merge; else headers, index and sizes were checked.
    """

    schema_: Literal["weightlens.push/1"] = Field(default="weightlens.push/1", alias="schema")
    weightlens: str
    folder: str
    repo: str
    revision: str
    kind: Literal["model", "adapter"]
    planned: bool
    created: bool
    private: bool
    message: str
    files: list[SentFile]
    left_out: list[LeftOut]
    removed: list[str]
    verified: bool
    commit: str | None = None
    url: str | None = None
    pull_request: str | None = None
    warnings: list[str]

    @property
    def bytes(self) -> int:
        """Of all files that are not on the Hub already."""
        return sum(file.size for file in self.files if file.state != "unchanged")
