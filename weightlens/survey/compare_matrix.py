"""The deltas of one matrix against each other."""

import math
from collections.abc import Mapping, Sequence
from itertools import combinations

import torch

from weightlens.checkpoint.names import place_of
from weightlens.delta import Compact, Delta
from weightlens.errors import InputError
from weightlens.overlap.alignment import alignment_with
from weightlens.overlap.cosine import inner, norm
from weightlens.overlap.interference import interference, task_singular_vectors
from weightlens.overlap.signs import sign_conflict
from weightlens.spectral.angles import (
    chordal_chance,
    chordal_distance,
    geodesic_distance,
    principal_angles,
)
from weightlens.spectral.rank import SubspaceSize
from weightlens.survey.compare_result import MatrixComparison, PairRecord, Subspaces
from weightlens.survey.cuts import Cut


def compared(cut: Cut, deltas: Sequence[Delta], size: SubspaceSize) -> MatrixComparison:
    """At least two models' deltas of one matrix. Raises InputError for a rank above min(m, n)."""
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
        raise InputError(f"{cut.name}: {error}") from error
    place = place_of(cut.name)
    m, n = deltas[0].shape
    return MatrixComparison(
        name=cut.name,
        expert=cut.expert if cut.expert is not None else place.expert,
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
    parts: Mapping[int, Compact],
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
