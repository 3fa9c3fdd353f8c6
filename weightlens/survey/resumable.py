"""A report that an interrupted analysis can leave in part."""

from abc import abstractmethod
from pathlib import Path
from typing import TypeVar

from pydantic import Field

from weightlens.record import Record

R = TypeVar("R", bound="Resumable")


class Resumable(Record):
    """What every long analysis reports. partial: the run was cut short.

    fingerprint: of the models and settings, by which an interrupted run knows its own beginning;
    None where nothing tells them from others.
    """

    schema_: str = Field(alias="schema")
    weightlens: str
    partial: bool = False
    fingerprint: str | None = None

    @abstractmethod
    def done(self) -> set[str]:
        """The tensors that are done."""

    @classmethod
    def from_file(cls: type[R], file: Path) -> R:
        """Reads a report back. Raises pydantic's ValidationError for anything else."""
        return cls.model_validate_json(file.read_text(encoding="utf-8"))
