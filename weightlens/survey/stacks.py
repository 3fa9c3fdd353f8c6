"""The experts of one place in aggregate: what a block-diagonal matrix of them would read.

With weights w_e = ‖Δ_e‖² / Σ ‖Δ_e‖² the overlap is Σ w_e o_e, its chance Σ w_e c_e, and, the
experts' random orientations being independent, its spread √(Σ w_e² s_e²).
"""

import math
from collections.abc import Callable, Sequence

from weightlens.overlap.chance import Chance, z_score
from weightlens.survey.result import MatrixRecord, OverlapRecord, StackRecord


def stacks_of(matrices: Sequence[MatrixRecord]) -> list[StackRecord]:
    """One record for each layer and module that has experts, in the order of the first."""
    places: dict[tuple[int | None, str], list[MatrixRecord]] = {}
    for matrix in matrices:
        if matrix.expert is not None:
            places.setdefault((matrix.layer, matrix.module), []).append(matrix)
    return [
        StackRecord(
            layer=layer,
            module=module,
            experts=len(experts),
            delta_norm=math.sqrt(sum(m.delta.norm**2 for m in experts)),
            column=_aggregate(experts, lambda m: m.column),
            row=_aggregate(experts, lambda m: m.row),
            both=_aggregate(experts, lambda m: m.both),
        )
        for (layer, module), experts in places.items()
    ]


def _aggregate(
    experts: Sequence[MatrixRecord], side: Callable[[MatrixRecord], OverlapRecord]
) -> OverlapRecord:
    changed = [(side(m), m.delta.norm**2) for m in experts if side(m).overlap is not None]
    total = sum(energy for _, energy in changed)
    if not total:
        mean = sum(side(m).chance for m in experts) / len(experts)
        return OverlapRecord(overlap=None, chance=mean, std=None, z=None)
    overlap = sum((found.overlap or 0.0) * energy for found, energy in changed) / total
    chance = Chance(
        sum(found.chance * energy for found, energy in changed) / total,
        math.sqrt(sum(((found.std or 0.0) * energy) ** 2 for found, energy in changed)) / total,
    )
    return OverlapRecord(
        overlap=overlap, chance=chance.mean, std=chance.std, z=z_score(overlap, chance)
    )
