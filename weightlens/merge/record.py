"""What a merge records of itself: `weightlens.json` in the output."""

from typing import Literal

from pydantic import Field

from weightlens.overlap.subspace import SubspaceOverlap
from weightlens.record import Record


class Sides(Record):
    """Overlap on each side, 0 to 1."""

    column: float
    row: float
    both: float
    either: float

    @classmethod
    def of(cls, overlap: SubspaceOverlap) -> "Sides":
        """From a measurement."""
        return cls(column=overlap.column, row=overlap.row, both=overlap.both, either=overlap.either)


class StripRecord(Record):
    """One strip of one source's delta. factor: c; after None: nothing is left of the delta."""

    source: str
    side: Literal["column", "row", "both", "either"]
    subspace: Literal["base", "random"]
    rank: int
    angle_bound: float | None
    chance: Sides
    before: Sides | None
    after: Sides | None
    factor: float
    untouched: bool
    delta_norm: float


class MatrixRecord(Record):
    """One matrix of the output.

    merged: overlap of the merged delta in float32; written: of what the file holds, after rounding.
    Both against the subspace of the last transform. None for a delta of zeros.
    """

    name: str
    expert: int | None
    layer: int | None
    module: str
    shape: tuple[int, int]
    strips: list[StripRecord]
    merged: Sides | None
    written: Sides | None
    delta_norm: float


class SourceRecord(Record):
    """A model that went in: as the recipe calls it, with the Hub commit or a hash of its bytes."""

    model: str
    commit: str | None
    hash: str | None


class MergeReport(Record):
    """Provenance of a merge and everything that was measured while it ran.

    others: the bases of single slices, and the model that the tokenizer comes from, where they are
    none of the former. plan: a hash of everything that the output depends on; None in records of
    before there was one, and of mergekit's engine. steps: the merges whose results went in, by
    their names in the recipe. checksums: the xxh3-128 of every tensor's bytes as they were
    written, by name. device: that on which matrices were factorised and stripped.
    """

    schema_: Literal["weightlens.merge/1"] = Field(default="weightlens.merge/1", alias="schema")
    weightlens: str
    torch: str
    engine: Literal["weightlens", "mergekit"] = "weightlens"
    recipe: str
    base: SourceRecord | None
    sources: list[SourceRecord]
    others: list[SourceRecord] = Field(default_factory=list)
    seed: int
    device: str = "cpu"
    plan: str | None = None
    warnings: list[str]
    tensors: int
    bytes: int
    checksums: dict[str, str] = Field(default_factory=dict)
    matrices: list[MatrixRecord]
    steps: dict[str, "MergeReport"] = Field(default_factory=dict)


class PlanReport(Record):
    """What a merge would do, before it does it.

    engine: ours, or mergekit's for the reasons given; then what is None is not known beforehand.
    kinds: how many tensors are copied, streamed (pointwise, two-pass, row-wise) and held whole
    (matrix). bytes_read counts every tensor once. peak_memory: about how many bytes at most.
    finished: tensors that an earlier run into the same output has left.
    """

    schema_: Literal["weightlens.plan/1"] = Field(default="weightlens.plan/1", alias="schema")
    engine: Literal["weightlens", "mergekit"]
    reasons: list[str]
    method: str
    base: str | None
    sources: list[str]
    tensors: int | None
    kinds: dict[str, int]
    shards: int | None
    bytes_read: int | None
    bytes_written: int | None
    bytes_to_download: int
    peak_memory: int | None
    workers: int
    finished: int = 0
    warnings: list[str]


class StripSummary(Record):
    """Means over matrices, weighted by the energy of each delta, for the side that was stripped."""

    side: str
    matrices: int
    untouched: int
    chance: float
    before: float
    after: float
    merged: float
    written: float


def summarise_strips(report: MergeReport) -> list[StripSummary]:
    """One line a source and transform; empty where nothing was stripped."""
    groups: dict[tuple[str, int], list[tuple[MatrixRecord, StripRecord]]] = {}
    for matrix in report.matrices:
        seen: dict[str, int] = {}
        for strip in matrix.strips:
            step = seen[strip.source] = seen.get(strip.source, -1) + 1
            groups.setdefault((strip.source, step), []).append((matrix, strip))
    return [_summary(pairs) for pairs in groups.values()]


def _summary(pairs: list[tuple[MatrixRecord, StripRecord]]) -> StripSummary:
    side = pairs[0][1].side
    measured = [(m, s) for m, s in pairs if s.before is not None]
    total = sum(s.delta_norm**2 for _, s in measured) or 1.0

    def mean(values: list[float]) -> float:
        return sum(
            v * s.delta_norm**2 for v, (_, s) in zip(values, measured, strict=True)
        ) / total  # fmt: skip

    def read(sides: Sides | None) -> float:
        return float(getattr(sides, side)) if sides is not None else 0.0

    return StripSummary(
        side=side,
        matrices=len(pairs),
        untouched=sum(s.untouched for _, s in pairs),
        chance=mean([read(s.chance) for _, s in measured]),
        before=mean([read(s.before) for _, s in measured]),
        after=mean([read(s.after) for _, s in measured]),
        merged=mean([read(m.merged) for m, _ in measured]),
        written=mean([read(m.written) for m, _ in measured]),
    )
