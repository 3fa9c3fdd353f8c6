"""What an extraction records of itself: `weightlens.json` beside the adapter."""

import math
from typing import Literal

from pydantic import Field

from weightlens.merge.record import SourceRecord
from weightlens.record import Record
from weightlens.spectral.lowrank import LowRankPath, TruncationBy


class TruncationChoice(Record):
    """How the ranks were chosen; see `spectral.lowrank.Truncation`."""

    by: TruncationBy
    value: int | float | None
    most: int | None


class ExtractSettings(Record):
    """What was asked for. include, exclude: regular expressions for the names of tensors."""

    size: TruncationChoice
    include: str | None
    exclude: str | None
    save_rest: bool


class ExtractedMatrix(Record):
    """One matrix whose delta is in the adapter as factors.

    shape: as the base stores it. rank: 0 where no direction stands above the noise. energy: share
    of ‖Δ‖² that is kept, 0 to 1. error: ‖Δ − B A‖ / ‖Δ‖. threshold: the singular value above which
    directions are no noise, where that was asked for.
    """

    name: str
    layer: int | None
    module: str
    shape: tuple[int, int]
    rank: int
    energy: float
    error: float
    delta_norm: float
    threshold: float | None
    path: LowRankPath


class WholeTensor(Record):
    """A tensor that the adapter holds whole; delta_norm: how far it is from the base's."""

    name: str
    shape: tuple[int, ...]
    delta_norm: float


class LeftOut(Record):
    """A tensor that differs from the base's and is not in the adapter.

    delta_norm: None where its shape differs too.
    """

    name: str
    shape: tuple[int, ...]
    reason: str
    delta_norm: float | None


class ExtractTotals(Record):
    """Sums over tensors; every share is one of ‖Δ‖² over all tensors of the model, 0 to 1.

    delta_norm: ‖Δ‖ of all. error: ‖Δ − B A‖ / ‖Δ‖ of the matrices that have factors, all of them as
    one. matrices, whole, left_out: how much of the delta lies there; kept: how much of it the
    adapter holds. Tensors of other shapes do not count.
    """

    delta_norm: float
    error: float
    matrices: float
    whole: float
    left_out: float
    kept: float


class ExtractReport(Record):
    """Provenance of an extracted adapter, and how near it is to the delta it stands for.

    device: where deltas were factorised. unchanged: matrices whose delta is zero. parameters:
    numbers in the adapter; matrix_parameters: those of the matrices that its factors stand for.
    checksums: the xxh3-128 of every tensor's bytes as they were written, by name.
    """

    schema_: Literal["weightlens.extract/1"] = Field(default="weightlens.extract/1", alias="schema")
    weightlens: str
    torch: str
    device: str = "cpu"
    base: SourceRecord
    tuned: SourceRecord
    settings: ExtractSettings
    warnings: list[str]
    totals: ExtractTotals
    unchanged: int
    parameters: int
    matrix_parameters: int
    bytes: int
    checksums: dict[str, str] = Field(default_factory=dict)
    matrices: list[ExtractedMatrix]
    whole: list[WholeTensor]
    left_out: list[LeftOut]


def totals_of(
    matrices: list[ExtractedMatrix], whole: list[WholeTensor], left_out: list[LeftOut]
) -> ExtractTotals:
    """The sums; shares of a delta of zeros are 0."""
    factored = math.fsum(m.delta_norm**2 for m in matrices)
    lost = math.fsum((m.error * m.delta_norm) ** 2 for m in matrices)
    saved = math.fsum(w.delta_norm**2 for w in whole)
    missing = math.fsum((t.delta_norm or 0.0) ** 2 for t in left_out)
    total = factored + saved + missing
    return ExtractTotals(
        delta_norm=math.sqrt(total),
        error=math.sqrt(lost / factored) if factored else 0.0,
        matrices=_share(factored, total),
        whole=_share(saved, total),
        left_out=_share(missing, total),
        kept=_share(factored - lost + saved, total),
    )


def _share(part: float, total: float) -> float:
    return part / total if total else 0.0
