"""Further metrics of one matrix, by name: what `overlap --more` puts into the report's `more`."""

import math
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from weightlens.delta import Compact, Delta, Measurable, measurable
from weightlens.overlap.amplification import amplification
from weightlens.overlap.curve import OverlapCurve, curve_and_spectrum
from weightlens.overlap.intruders import intruder_dimensions
from weightlens.spectral.basis import Factorisation
from weightlens.spectral.change import spectrum_change
from weightlens.spectral.gram import singular_values
from weightlens.spectral.noise import hard_threshold, rank_above, rounding_floor
from weightlens.spectral.rank import energy_rank
from weightlens.spectral.tail import power_law_tail

INTRUDER_COUNT = 10
CURVE_FRACTIONS = (0.01, 0.05, 0.1, 0.25, 0.5)
"""Shares of min(m, n) at which the overlap curve is read."""


@dataclass(frozen=True)
class Known:
    """The delta's singular values, and its overlaps at every rank."""

    sigma: Float[Tensor, "s"]
    curve: OverlapCurve

    @classmethod
    def of(cls, base: Factorisation, delta: Measurable) -> "Known":
        """Computed afresh."""
        curve, sigma = curve_and_spectrum(base, delta)
        return cls(sigma, curve)


def further_metrics(
    base: Factorisation, delta: Delta, *, known: Known | None = None, rounding: float | None = None
) -> dict[str, float | None]:
    """All of them, for a delta that is not all zeros; docs/metrics.md explains each name.

    known: what is at hand already. rounding: what rounding to the stored dtype alone would put into
    ‖Δ‖². Costs a factorisation of W + Δ and, where it is dense, of Δ.
    """
    m, n = base.matrix.shape
    measured = measurable(delta)
    known = known or Known.of(base, measured)
    tuned = base.matrix + delta.dense()
    intruders = intruder_dimensions(base, tuned, count=min(INTRUDER_COUNT, m, n))
    tail = power_law_tail(base.sigma_squared)
    amplified = amplification(base.matrix, measured, energy_rank(known.sigma.square(), 0.5))
    found: dict[str, float | None] = {
        "amplification": amplified.factor if math.isfinite(amplified.factor) else None,
        "amplification_over_chance": _finite(amplified.factor / amplified.chance),
        "amplification_rank": float(amplified.rank),
        "intruders_left": float(len(intruders.left.indices)),
        "intruders_right": float(len(intruders.right.indices)),
        "spectrum_change": _finite(spectrum_change(base.sigma, singular_values(tuned)).in_norm),
        "base_tail_alpha": tail.alpha if tail else None,
        "base_tail_distance": tail.distance if tail else None,
        # a low-rank delta has no noise bulk to read a threshold from
        "noise_rank": None if isinstance(measured, Compact) else float(
            rank_above(known.sigma, hard_threshold(known.sigma, m=m, n=n))),
        "rank_above_rounding": None if rounding is None else float(
            rank_above(known.sigma, rounding_floor(m=m, n=n, rounding_energy=rounding))),
    }  # fmt: skip
    for fraction in CURVE_FRACTIONS:
        k = max(1, round(fraction * min(m, n)))
        found[f"column_at_{fraction:g}"] = float(known.curve.column[k - 1])
        found[f"row_at_{fraction:g}"] = float(known.curve.row[k - 1])
    return found


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
