"""Measures one matrix: a base, a delta, one factorisation. No files here."""

import math
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from weightlens.delta import Compact, Delta, Measurable, measurable
from weightlens.overlap.chance import Chance, both_chance, side_chance, z_score
from weightlens.overlap.curve import OverlapCurve, curve_and_spectrum
from weightlens.overlap.subspace import SubspaceOverlap, subspace_overlap
from weightlens.overlap.weighted import WeightedOverlap, weighted_overlap
from weightlens.spectral.basis import Factorisation
from weightlens.spectral.gram import singular_values
from weightlens.spectral.rank import (
    SubspaceSize,
    effective_rank,
    participation_ratio,
    stable_rank,
)
from weightlens.survey.result import (
    BaseSpectrum,
    DeltaSpectrum,
    OverlapRecord,
    SubspaceRecord,
    WeightedRecord,
)


@dataclass(frozen=True)
class Measured:
    """Everything that is known of one matrix of one model.

    sigma: the delta's singular values. curve: the overlaps at every rank. None for a delta of
    zeros, the curve also for a partial factorisation.
    """

    base: BaseSpectrum
    delta: DeltaSpectrum
    subspace: SubspaceRecord
    column: OverlapRecord
    row: OverlapRecord
    both: OverlapRecord
    weighted: WeightedRecord
    sigma: Float[Tensor, "s"] | None = None
    curve: OverlapCurve | None = None


def measure(
    base: Factorisation, size: SubspaceSize, delta: Delta | None, *, rounding: float | None = None
) -> Measured:
    """All numbers of one matrix.

    delta: None or all zeros gives None wherever a number would divide by ‖Δ‖. rounding: what
    rounding to the stored dtype alone would put into ‖Δ‖²; None where nothing says so (an adapter).
    Raises ValueError for a rank above the vectors that are known.
    """
    m, n = base.matrix.shape
    k = base.rank(size)
    described, certified = describe_base(base), _certificate(base, k)
    if delta is None or delta.is_zero():
        return _nothing(described, certified, (m, n))
    measured = measurable(delta)
    if isinstance(measured, Compact) and not float(measured.sigma.square().sum()):
        # a product of factors can vanish without either being zero
        return _nothing(described, certified, (m, n))
    projected = _projected(base, size, measured)
    sigma = projected.sigma
    energy = float(sigma.square().sum())
    concentration = float(sigma.square().square().sum()) / energy**2
    expected = expected_overlap(k, (m, n), concentration)
    return Measured(
        base=described,
        delta=DeltaSpectrum(
            norm=math.sqrt(energy),
            spectral_norm=float(sigma.max()),
            relative_norm=math.sqrt(energy) / described.norm if described.norm else None,
            stable_rank=stable_rank(sigma),
            effective_rank=effective_rank(sigma),
            participation_ratio=participation_ratio(sigma),
            rounding_share=None if rounding is None else rounding / energy,
        ),
        subspace=certified,
        column=_compared(projected.overlap.column, expected["column"]),
        row=_compared(projected.overlap.row, expected["row"]),
        both=_compared(projected.overlap.both, expected["both"]),
        weighted=WeightedRecord(
            column=projected.weighted.column if projected.weighted else None,
            row=projected.weighted.row if projected.weighted else None,
        ),
        sigma=sigma,
        curve=projected.curve,
    )


@dataclass(frozen=True)
class _Projected:
    sigma: Float[Tensor, "s"]
    overlap: SubspaceOverlap
    weighted: WeightedOverlap | None
    curve: OverlapCurve | None


def _projected(base: Factorisation, size: SubspaceSize, delta: Measurable) -> _Projected:
    """From one set of products for every rank; where only some vectors are known, for theirs."""
    if base.complete:
        curve, sigma = curve_and_spectrum(base, delta)
        weighted = curve.weighted(base) if base.squared_norm else None
        return _Projected(sigma, curve.at(base.rank(size)), weighted, curve)
    sigma = delta.sigma if isinstance(delta, Compact) else singular_values(delta.matrix)
    weighted = weighted_overlap(base.matrix, delta) if base.squared_norm else None
    return _Projected(sigma, subspace_overlap(delta, base.subspace(size)), weighted, None)


def expected_overlap(k: int, shape: tuple[int, int], concentration: float) -> dict[str, Chance]:
    """Chance for column, row and both."""
    m, n = shape
    return {
        "column": side_chance(k=k, d=m, concentration=concentration),
        "row": side_chance(k=k, d=n, concentration=concentration),
        "both": both_chance(k=k, m=m, n=n, concentration=concentration),
    }


def describe_base(base: Factorisation) -> BaseSpectrum:
    """Norms and ranks of W; the effective rank needs the whole spectrum."""
    sigma, largest = base.sigma, float(base.sigma_squared[0])
    return BaseSpectrum(
        norm=math.sqrt(base.squared_norm),
        spectral_norm=math.sqrt(largest),
        stable_rank=base.squared_norm / largest if largest else None,
        effective_rank=effective_rank(sigma) if base.complete and largest else None,
    )


def _compared(overlap: float, chance: Chance) -> OverlapRecord:
    return OverlapRecord(
        overlap=overlap, chance=chance.mean, std=chance.std, z=z_score(overlap, chance)
    )


def _certificate(base: Factorisation, k: int) -> SubspaceRecord:
    gap, bound = base.certificate(k)
    return SubspaceRecord(
        rank=k,
        energy=base.energy(k),
        gap=gap,
        angle_bound=bound if math.isfinite(bound) else None,
        path=base.path,
    )


def _nothing(base: BaseSpectrum, subspace: SubspaceRecord, shape: tuple[int, int]) -> Measured:
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
        subspace=subspace,
        column=blank[0], row=blank[1], both=blank[2],
        weighted=WeightedRecord(column=None, row=None),
    )  # fmt: skip
