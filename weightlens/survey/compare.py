"""`weightlens compare`: fine-tunes of one base against each other, in one pass over their files."""

import math
from collections.abc import Sequence
from itertools import combinations
from typing import Literal

import torch
from pydantic import Field

from weightlens.checkpoint.model import Model, base_weights
from weightlens.checkpoint.names import place_of
from weightlens.checkpoint.selection import Selection
from weightlens.checkpoint.weights import Weights
from weightlens.delta import Compact, Delta, Dense
from weightlens.errors import InputError
from weightlens.overlap.alignment import alignment_with
from weightlens.overlap.cosine import inner, norm
from weightlens.overlap.interference import interference, task_singular_vectors
from weightlens.overlap.signs import sign_conflict
from weightlens.record import Record
from weightlens.spectral.angles import (
    chordal_chance,
    chordal_distance,
    geodesic_distance,
    principal_angles,
)
from weightlens.spectral.rank import SubspaceSize
from weightlens.survey.opened import ModelLike, opened
from weightlens.survey.result import SubspaceChoice
from weightlens.survey.work import Progress, Step, silent
from weightlens.version import VERSION

DEFAULT_SIZE = SubspaceSize("energy", 0.95)
"""The part of a delta that its subspaces stand for."""


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

    interference: of all the models at once.
    """

    name: str
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


class CompareReport(Record):
    """All of it."""

    schema_: Literal["weightlens.compare/1"] = Field(default="weightlens.compare/1", alias="schema")
    weightlens: str
    base: str
    models: list[str]
    subspace: SubspaceChoice
    pairs: list[PairSummary]
    matrices: list[MatrixComparison]


def compare_models(
    base: ModelLike,
    tuned: Sequence[ModelLike],
    *,
    size: SubspaceSize = DEFAULT_SIZE,
    selection: Selection = Selection(),  # noqa: B008 (immutable)
    progress: Progress = silent,
) -> CompareReport:
    """Compares every two of at least two fine-tunes, matrix by matrix.

    size: how much of each delta its subspaces hold. Every file is read once. Raises InputError and
    its kinds; stacks of experts are left out.
    """
    weights = base_weights(opened(base))
    models = [opened(model, base=weights) for model in tuned]
    if len(models) < 2:
        raise InputError("compare needs at least two fine-tunes")
    for model in models:
        model.check_against(weights)
    names = [n for n in selection.matrices(dict(weights.infos)) if len(weights.infos[n].shape) == 2]
    if not names:
        raise InputError(f"{weights.label}: no matrix left to compare")
    matrices, read = [], 0
    for done, name in enumerate(names):
        progress(Step(done, len(names), name, bytes=read))
        matrices.append(_compared(name, weights, models, size))
        every = [weights, *(model.weights for model in models)]
        read += sum(w.infos[name].nbytes for w in every if w is not None and name in w.infos)
    progress(Step(len(names), len(names), "", bytes=read))
    labels = [model.label for model in models]
    return CompareReport(
        weightlens=VERSION,
        base=weights.label,
        models=labels,
        subspace=SubspaceChoice(by=size.by, value=size.value),
        pairs=[_summary(a, b, labels, matrices) for a, b in combinations(range(len(labels)), 2)],
        matrices=matrices,
    )


def _compared(
    name: str, weights: Weights, models: Sequence[Model], size: SubspaceSize
) -> MatrixComparison:
    base = weights.read(name)
    deltas: list[Delta] = [
        model.delta(name, weights, base) or Dense(torch.zeros_like(base)) for model in models
    ]
    if name in weights.transposed:
        base, deltas = base.T, [delta.transposed() for delta in deltas]
    norms = [norm(delta) for delta in deltas]
    products = [[0.0] * len(deltas) for _ in deltas]
    for i, j in combinations(range(len(deltas)), 2):
        products[i][j] = products[j][i] = inner(deltas[i], deltas[j])
    for i, length in enumerate(norms):
        products[i][i] = length**2
    changed = [i for i, length in enumerate(norms) if length]
    try:
        parts = {i: task_singular_vectors(deltas[i], size) for i in changed}
    except ValueError as error:
        raise InputError(f"{name}: {error}") from error
    place = place_of(name)
    m, n = base.shape
    return MatrixComparison(
        name=name,
        layer=place.layer,
        module=place.module,
        shape=(m, n),
        norms=norms,
        inner=products,
        pairs=[_pair(i, j, deltas, parts, norms, products) for i, j in combinations(changed, 2)],
        interference=interference(list(parts.values())) if len(parts) > 1 else None,
    )


def _pair(
    i: int,
    j: int,
    deltas: Sequence[Delta],
    parts: dict[int, Compact],
    norms: Sequence[float],
    products: Sequence[Sequence[float]],
) -> PairRecord:
    conflict = sign_conflict(deltas[i], deltas[j])
    there, back = alignment_with(deltas[i], parts[j]), alignment_with(deltas[j], parts[i])
    assert there is not None and back is not None  # neither delta is zero
    m = deltas[i].shape[0]
    return PairRecord(
        a=i,
        b=j,
        cosine=max(-1.0, min(1.0, products[i][j] / (norms[i] * norms[j]))),
        sign_conflict=None if conflict is None else conflict.share,
        sign_conflict_weighted=None if conflict is None else conflict.weighted,
        columns=_subspaces(parts[i].left, parts[j].left),
        rows=_subspaces(parts[i].right, parts[j].right),
        alignment=(there.ratio, back.ratio),
        alignment_chance=(math.sqrt(there.rank / m), math.sqrt(back.rank / m)),
        interference=interference([parts[i], parts[j]]),
    )


def _subspaces(first: torch.Tensor, second: torch.Tensor) -> Subspaces:
    angles = principal_angles(first, second)
    return Subspaces(
        dimensions=len(angles),
        smallest_angle=math.degrees(float(angles[0])),
        largest_angle=math.degrees(float(angles[-1])),
        geodesic=geodesic_distance(angles),
        chordal=chordal_distance(angles),
        chordal_chance=chordal_chance(first.shape[0], first.shape[1], second.shape[1]),
    )


def _summary(
    a: int, b: int, labels: Sequence[str], matrices: Sequence[MatrixComparison]
) -> PairSummary:
    pairs = [p for m in matrices for p in m.pairs if (p.a, p.b) == (a, b)]
    lengths = [math.sqrt(sum(m.norms[i] ** 2 for m in matrices)) for i in (a, b)]
    product = sum(m.inner[a][b] for m in matrices)
    conflicts = [p.sign_conflict for p in pairs if p.sign_conflict is not None]
    ratios = [[p.alignment[side] / p.alignment_chance[side] for p in pairs] for side in (0, 1)]
    return PairSummary(
        a=labels[a],
        b=labels[b],
        cosine=product / (lengths[0] * lengths[1]) if all(lengths) else None,
        sign_conflict=sum(conflicts) / len(conflicts) if conflicts else None,
        alignment_over_chance=(
            (sum(ratios[0]) / len(pairs), sum(ratios[1]) / len(pairs)) if pairs else None
        ),
        interference=sum(p.interference for p in pairs),
    )  # fmt: skip
