"""What a subspace overlap would read by chance, and how far chance spreads.

Chance keeps the delta's own singular values and draws its singular vectors at random (Haar). With
p_i = σ_i(Δ)² / ‖Δ‖² and S = Σ p_i², for a side of dimension d: a = k/d, v = 2k(d−k) / (d²(d+2)):

    E[column] = k/m              Var = v (S − (1−S) / (d−1))
    E[both]   = k² / (mn)        Var = S (a²+v)_m (a²+v)_n
                                       + (1−S) [(a²+q)_m (a²+q)_n + 2 e_m e_n] − a_m² a_n²
                                 q = −v / (d−1),  e = k(d−k) / (d(d−1)(d+2)) on each side
    E[either] = k/m + k/n − k²/(mn)

v is the variance of ‖U_kᵀ x‖² for a random unit vector x (a Beta(k/2, (d−k)/2) variable); the rest
follows because the squared projections of an orthonormal basis sum to k exactly.
"""

import math
from dataclasses import dataclass

STD_FLOOR = 1e-12
"""Below this spread a z-value would divide rounding by rounding."""


@dataclass(frozen=True)
class Chance:
    """Mean and standard deviation of an overlap under random orientation."""

    mean: float
    std: float


def side_chance(*, k: int, d: int, concentration: float) -> Chance:
    """Column overlap (d = m) or row overlap (d = n); concentration is S, between 1/rank and 1."""
    if k >= d:  # the subspace is everything
        return Chance(1.0, 0.0)
    v = _beta_variance(k, d)
    return Chance(k / d, _root(v * (concentration - (1 - concentration) / (d - 1))))


def both_chance(*, k: int, m: int, n: int, concentration: float) -> Chance:
    """Overlap on both sides at once; concentration is S."""
    s = concentration
    (a_m, v_m, q_m, e_m), (a_n, v_n, q_n, e_n) = _moments(k, m), _moments(k, n)
    variance = (
        s * (a_m**2 + v_m) * (a_n**2 + v_n)
        + (1 - s) * ((a_m**2 + q_m) * (a_n**2 + q_n) + 2 * e_m * e_n)
        - (a_m * a_n) ** 2
    )
    return Chance(a_m * a_n, _root(variance))


def either_mean(*, k: int, m: int, n: int) -> float:
    """Mean of the overlap on either side."""
    return k / m + k / n - k * k / (m * n)


def z_score(overlap: float, chance: Chance) -> float | None:
    """Distance from chance in standard deviations; None where chance does not spread."""
    return (overlap - chance.mean) / chance.std if chance.std >= STD_FLOOR else None


def _beta_variance(k: int, d: int) -> float:
    return 2 * k * (d - k) / (d * d * (d + 2))


def _moments(k: int, d: int) -> tuple[float, float, float, float]:
    """(a, v, q, e) of one side; a side of dimension 1 has no second vector to correlate with."""
    v = _beta_variance(k, d)
    if d == 1:
        return 1.0, 0.0, 0.0, 0.0
    return k / d, v, -v / (d - 1), k * (d - k) / (d * (d - 1) * (d + 2))


def _root(variance: float) -> float:
    return math.sqrt(max(variance, 0.0))
