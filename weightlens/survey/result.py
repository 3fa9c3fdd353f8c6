"""The overlap report: what was measured, matrix by matrix, in the form of `weightlens.overlap/1`.

Every number that does not exist (a delta of zeros, a spread of nothing) is None, never NaN.
"""

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from weightlens.record import Record
from weightlens.survey.resumable import Resumable

if TYPE_CHECKING:
    import pandas

Cell = str | int | float | None


class BaseSpectrum(Record):
    """Of W: Frobenius norm, σ₁, and two ranks."""

    norm: float
    spectral_norm: float
    stable_rank: float | None
    effective_rank: float | None


class DeltaSpectrum(Record):
    """Of Δ. relative_norm: ‖Δ‖/‖W‖. rounding_share: see `weightlens.overlap.rounding`."""

    norm: float
    spectral_norm: float
    relative_norm: float | None
    stable_rank: float | None
    effective_rank: float | None
    participation_ratio: float | None
    rounding_share: float | None


FactorisationPath = Literal["exact", "partial", "fallback"]
"""How a base was factorised: `weightlens.spectral.basis` says more."""


class SubspaceRecord(Record):
    """Size and certificate of U_k, V_k. angle_bound None: the gap vanishes, not unique.

    path: fallback is the exact path, taken because the partial one could not be certified.
    """

    rank: int
    energy: float
    gap: float
    angle_bound: float | None
    path: FactorisationPath = "exact"


class OverlapRecord(Record):
    """An overlap beside chance; z = (overlap − chance) / std."""

    overlap: float | None
    chance: float
    std: float | None
    z: float | None


class WeightedRecord(Record):
    """Overlaps weighted by the whole base spectrum; chance is 1/m and 1/n."""

    column: float | None
    row: float | None


class CurveRecord(Record):
    """Overlaps at some ranks k, rising; chance at k is k/m, k/n and k²/(mn) of the shape."""

    k: list[int]
    column: list[float]
    row: list[float]
    both: list[float]


class MatrixRecord(Record):
    """One matrix of one model, measured against the base.

    part: query, key, … where it is some of the rows of a fused tensor, which is listed whole too.
    curve: None unless curves were asked for, and for a delta of zeros.
    """

    name: str
    expert: int | None
    part: str | None = None
    layer: int | None
    module: str
    shape: tuple[int, int]
    base: BaseSpectrum
    delta: DeltaSpectrum
    subspace: SubspaceRecord
    column: OverlapRecord
    row: OverlapRecord
    both: OverlapRecord
    weighted: WeightedRecord
    more: dict[str, float | None] = Field(default_factory=dict)
    curve: CurveRecord | None = None


class StackRecord(Record):
    """The experts of one place in aggregate: as one block-diagonal matrix."""

    layer: int | None
    module: str
    experts: int
    delta_norm: float
    column: OverlapRecord
    row: OverlapRecord
    both: OverlapRecord


class Mean(Record):
    """Means over matrices: by_energy weighs each with ‖Δ‖², plain counts each once.

    Ratios are overlap over chance, of the same means; matrices with a delta of zeros are left out,
    and so are the parts of a fused tensor where it is counted whole.
    """

    matrices: int
    column: float | None
    row: float | None
    both: float | None
    column_by_energy: float | None
    row_by_energy: float | None
    both_by_energy: float | None
    column_over_chance: float | None
    row_over_chance: float | None
    both_over_chance: float | None
    weighted_column_over_chance: float | None
    weighted_row_over_chance: float | None
    rounding_share: float | None
    delta_norm: float


class Summary(Record):
    """The means over all matrices, and by module."""

    all: Mean
    modules: dict[str, Mean]


class Skipped(Record):
    """A tensor that was not measured, and why."""

    name: str
    reason: str


class ModelRecord(Record):
    """One tuned model against the base.

    step: of training, for a checkpoint that says so (`trainer_state.json`, `checkpoint-500`).
    """

    model: str
    kind: Literal["full", "adapter"]
    step: int | None = None
    summary: Summary
    skipped: list[Skipped]
    matrices: list[MatrixRecord]
    stacks: list[StackRecord] = Field(default_factory=list)


class Factorisations(Record):
    """How many bases were factorised on which path, and how many came from the cache."""

    exact: int = 0
    partial: int = 0
    fallback: int = 0
    cached: int = 0


class SubspaceChoice(Record):
    """How k was chosen."""

    by: Literal["energy", "rank", "fraction"]
    value: float


class OverlapReport(Resumable):
    """All of it.

    control: the unrelated model whose subspaces stand in for the base's; all that is said of W is
    then of its weights.
    """

    schema_: Literal["weightlens.overlap/1"] = Field(default="weightlens.overlap/1", alias="schema")
    base: str
    control: str | None = None
    subspace: SubspaceChoice
    factorisations: Factorisations = Factorisations()
    models: list[ModelRecord]

    @property
    def against(self) -> str:
        """The model whose subspaces the deltas were measured against."""
        return self.base if self.control is None else self.control

    def done(self) -> set[str]:
        """The tensors that are measured in every model."""
        each = [{matrix.name for matrix in model.matrices} for model in self.models]
        return set.intersection(*each) if each else set()

    def rows(self) -> list[dict[str, Cell]]:
        """A flat row for every matrix of every model; nested fields are joined by dots.

        Curves are left out: they have many numbers a matrix.
        """
        return [
            {"model": model.model, "kind": model.kind, "step": model.step, **_flat(matrix)}
            for model in self.models
            for matrix in model.matrices
        ]

    def to_pandas(self) -> "pandas.DataFrame":
        """One row a matrix, as `rows`; needs pandas (not installed with us)."""
        import pandas

        return pandas.DataFrame(self.rows())


def _flat(matrix: MatrixRecord) -> dict[str, Cell]:
    cells: dict[str, Cell] = {}
    data: dict[str, Any] = matrix.model_dump(exclude={"curve"})
    m, n = data.pop("shape")
    for key, value in data.items():
        if isinstance(value, dict):
            cells |= {f"{key}.{inner}": v for inner, v in value.items()}
        else:
            cells[key] = value
        if key == "module":
            cells |= {"m": m, "n": n}
    return cells
