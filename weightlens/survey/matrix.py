"""Measures one matrix: a base, a delta, one factorisation. No files here."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Shaped
from torch import Tensor

from weightlens.delta import Compact, Delta, measurable
from weightlens.overlap.chance import Chance, both_chance, side_chance, z_score
from weightlens.overlap.rounding import rounding_energy
from weightlens.overlap.subspace import subspace_overlap
from weightlens.overlap.weighted import weighted_overlap
from weightlens.spectral.basis import Factorisation, Subspace
from weightlens.spectral.gram import singular_values
from weightlens.spectral.rank import effective_rank, participation_ratio, stable_rank
from weightlens.survey.result import (
    BaseSpectrum,
    DeltaSpectrum,
    OverlapRecord,
    SubspaceRecord,
    WeightedRecord,
)


@dataclass(frozen=True)
class Measured:
    """Everything that is known of one matrix of one model."""

    base: BaseSpectrum
    delta: DeltaSpectrum
    subspace: SubspaceRecord
    column: OverlapRecord
    row: OverlapRecord
    both: OverlapRecord
    weighted: WeightedRecord


def measure(
    factorisation: Factorisation,
    subspace: Subspace,
    delta: Delta | None,
    *,
    stored: Shaped[Tensor, "..."] | None = None,
) -> Measured:
    """All numbers of one matrix.

    delta: None or all zeros gives None wherever a number would divide by ‖Δ‖. stored: the tuned
    tensor as on disk, for the rounding share; None where there is none (an adapter).
    """
    base = factorisation.matrix
    m, n = base.shape
    described = describe_base(factorisation)
    if delta is None or delta.is_zero():
        return _nothing(described, subspace, (m, n))
    measured = measurable(delta)
    sigma = measured.sigma if isinstance(measured, Compact) else singular_values(measured.matrix)
    energy = float(sigma.square().sum())
    if energy == 0:  # a product of factors can vanish without either being zero
        return _nothing(described, subspace, (m, n))
    concentration = float(sigma.square().square().sum()) / energy**2
    overlaps = subspace_overlap(measured, subspace)
    expected = expected_overlap(subspace.rank, (m, n), concentration)
    weighted = weighted_overlap(base, measured) if described.norm else None
    return Measured(
        base=described,
        delta=DeltaSpectrum(
            norm=math.sqrt(energy),
            spectral_norm=float(sigma.max()),
            relative_norm=math.sqrt(energy) / described.norm if described.norm else None,
            stable_rank=stable_rank(sigma),
            effective_rank=effective_rank(sigma),
            participation_ratio=participation_ratio(sigma),
            rounding_share=None if stored is None else rounding_energy(stored) / energy,
        ),
        subspace=_certificate(subspace),
        column=_compared(overlaps.column, expected["column"]),
        row=_compared(overlaps.row, expected["row"]),
        both=_compared(overlaps.both, expected["both"]),
        weighted=WeightedRecord(
            column=weighted.column if weighted else None,
            row=weighted.row if weighted else None,
        ),
    )


def expected_overlap(k: int, shape: tuple[int, int], concentration: float) -> dict[str, Chance]:
    """Chance for column, row and both."""
    m, n = shape
    return {
        "column": side_chance(k=k, d=m, concentration=concentration),
        "row": side_chance(k=k, d=n, concentration=concentration),
        "both": both_chance(k=k, m=m, n=n, concentration=concentration),
    }


def describe_base(factorisation: Factorisation) -> BaseSpectrum:
    """Norms and ranks of W."""
    sigma = factorisation.sigma
    zero = not bool(sigma.any())
    return BaseSpectrum(
        norm=float(torch.linalg.vector_norm(sigma)),
        spectral_norm=float(sigma[0]),
        stable_rank=None if zero else stable_rank(sigma),
        effective_rank=None if zero else effective_rank(sigma),
    )


def _compared(overlap: float, chance: Chance) -> OverlapRecord:
    return OverlapRecord(
        overlap=overlap, chance=chance.mean, std=chance.std, z=z_score(overlap, chance)
    )


def _certificate(subspace: Subspace) -> SubspaceRecord:
    bound = subspace.angle_bound
    return SubspaceRecord(
        rank=subspace.rank,
        energy=subspace.energy,
        gap=subspace.gap,
        angle_bound=bound if math.isfinite(bound) else None,
    )


def _nothing(base: BaseSpectrum, subspace: Subspace, shape: tuple[int, int]) -> Measured:
    (m, n), k = shape, subspace.rank
    blank = [
        OverlapRecord(overlap=None, chance=chance, std=None, z=None)
        for chance in (k / m, k / n, k * k / (m * n))
    ]
    return Measured(
        base=base,
        delta=DeltaSpectrum(
            norm=0.0, spectral_norm=0.0, relative_norm=0.0 if base.norm else None,
            stable_rank=None, effective_rank=None, participation_ratio=None, rounding_share=None,
        ),
        subspace=_certificate(subspace),
        column=blank[0], row=blank[1], both=blank[2],
        weighted=WeightedRecord(column=None, row=None),
    )  # fmt: skip
