"""What `weightlens compare` reports."""

from typing import Literal

from pydantic import Field

from weightlens.record import Record
from weightlens.survey.result import SubspaceChoice
from weightlens.survey.resumable import Resumable


class Subspaces(Record):
    """Two subspaces of one side. angles: smallest and largest principal angle, in degrees.

    geodesic: √Σθ², chordal: √Σsin²θ, over `dimensions` angles. chordal_chance: what the latter
    reads for subspaces of random orientation; 0 where one of them is everything.
    """

    dimensions: int
    smallest_angle: float
    largest_angle: float
    geodesic: float
    chordal: float
    chordal_chance: float


class PairRecord(Record):
    """Two deltas of one matrix; a and b are positions in the report's models.

    alignment: share of a's norm in b's column space, and the other way; chance is √(k/m).
    """

    a: int
    b: int
    cosine: float
    sign_conflict: float | None
    sign_conflict_weighted: float | None
    columns: Subspaces
    rows: Subspaces
    alignment: tuple[float, float]
    alignment_chance: tuple[float, float]
    interference: float


class MatrixComparison(Record):
    """One matrix. norms: ‖Δ‖ of every model; pairs: those where neither delta is zero.

    expert: which of a stack. interference: of all the models at once.
    """

    name: str
    expert: int | None = None
    layer: int | None
    module: str
    shape: tuple[int, int]
    norms: list[float]
    inner: list[list[float]]
    pairs: list[PairRecord]
    interference: float | None


class PairSummary(Record):
    """Two models over all matrices: cosine of the whole task vectors, sums and plain means."""

    a: str
    b: str
    cosine: float | None
    sign_conflict: float | None
    alignment_over_chance: tuple[float, float] | None
    interference: float


class CompareReport(Resumable):
    """All of it."""

    schema_: Literal["weightlens.compare/1"] = Field(default="weightlens.compare/1", alias="schema")
    base: str
    models: list[str]
    subspace: SubspaceChoice
    pairs: list[PairSummary]
    matrices: list[MatrixComparison]

    def done(self) -> set[str]:
        """The tensors that are compared."""
        return {matrix.name for matrix in self.matrices}
