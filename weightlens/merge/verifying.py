"""Whether a folder holds what its record says was written."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from weightlens.checkpoint.checksums import checksums_of
from weightlens.checkpoint.output import PROVENANCE_FILE
from weightlens.errors import CheckpointError, InputError, OutputError
from weightlens.merge.extract_record import ExtractReport
from weightlens.merge.record import MergeReport
from weightlens.merge.running import Progress

_RECORDS: TypeAdapter[MergeReport | ExtractReport] = TypeAdapter(MergeReport | ExtractReport)
_SHOWN = 3


@dataclass(frozen=True)
class Differences:
    """Of two sets of checksums: tensors that are only in the first, only in the second, and those
    that differ, by name."""

    missing: tuple[str, ...]
    extra: tuple[str, ...]
    changed: tuple[str, ...]

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self.missing or self.extra or self.changed)

    def __str__(self) -> str:
        """In words, with the first names of each kind."""
        kinds = {"missing": self.missing, "not in the record": self.extra, "differ": self.changed}
        return "; ".join(
            f"{len(names)} {kind} ({', '.join(names[:_SHOWN])}{' …' * (len(names) > _SHOWN)})"
            for kind, names in kinds.items()
            if names
        )


def differences(wanted: Mapping[str, str], found: Mapping[str, str]) -> Differences:
    """What is found, beside what is wanted."""
    return Differences(
        tuple(name for name in wanted if name not in found),
        tuple(name for name in found if name not in wanted),
        tuple(name for name in wanted if name in found and found[name] != wanted[name]),
    )


def read_record(file: Path) -> MergeReport | ExtractReport:
    """The record of a merge, or of an adapter that was extracted. Raises InputError for anything
    else."""
    try:
        return _RECORDS.validate_json(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror})") from error
    except ValidationError as error:
        raise InputError(f"{file}: is no record of a merge that this version knows") from error


def verify_folder(
    folder: Path, progress: Progress = lambda done, total, name: None
) -> MergeReport | ExtractReport:
    """Reads every tensor of a merge and compares it with the record; returns the record.

    Raises OutputError where a tensor is not as it was written or not in the record, or the weights
    cannot be read; InputError for a folder without a record, or with one that holds no checksums.
    """
    record = read_record(folder / PROVENANCE_FILE)
    if not record.checksums:
        raise InputError(
            f"{folder / PROVENANCE_FILE}: holds no checksums, as those of earlier versions; "
            "merge again to have what was written checked"
        )
    try:
        found = checksums_of(folder, progress)
    except CheckpointError as error:
        raise OutputError(f"{folder}: not as it was merged: {error}") from error
    if differing := differences(record.checksums, found):
        raise OutputError(f"{folder}: not as it was merged: tensors: {differing}")
    return record
