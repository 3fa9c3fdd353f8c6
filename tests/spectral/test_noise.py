"""Noise thresholds: hand-worked numbers, published approximations, and simulated noise."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import airy

from weightlens.overlap.rounding import rounding_energy
from weightlens.spectral.gram import singular_values
from weightlens.spectral.noise import (
    TW1_95,
    hard_threshold,
    marchenko_pastur_median,
    rank_above,
    rounding_floor,
    threshold_factor,
    tracy_widom_edge,
)

SHAPES = [(60, 60), (40, 120), (120, 40)]


def planted(m: int, n: int, rank: int, strength: float, generator: torch.Generator) -> torch.Tensor:
    """Unit noise and `rank` directions of the given strength over √m + √n."""
    u, _ = torch.linalg.qr(torch.randn(m, rank, generator=generator))
    v, _ = torch.linalg.qr(torch.randn(n, rank, generator=generator))
    signal = strength * (math.sqrt(m) + math.sqrt(n)) * u @ v.T
    return signal + torch.randn(m, n, generator=generator)


def test_the_factor_of_a_square_matrix_by_hand() -> None:
    # β = 1: with t = 2 + 2 cos θ the law is (1 − cos θ)/π dθ, so the median solves
    # θ − sin θ = π/2: θ = 2.309881, t = 0.653 (0.652787); λ(1)² = 4 + 8/(2 + 4) = 16/3;
    # ω(1) = √(16/3 / 0.652787) = 2.8583
    theta = 2.309881
    assert theta - math.sin(theta) == pytest.approx(math.pi / 2, abs=1e-6)
    assert marchenko_pastur_median(1.0) == pytest.approx(2 + 2 * math.cos(theta), abs=1e-5)
    assert threshold_factor(1.0) == pytest.approx(2.8583, abs=1e-4)


def test_the_threshold_of_hand_worked_values() -> None:
    # 3 x 3: median of (9, 1, 0.5) is 1, threshold 2.8583: one value above; of (9, 4, 2) it is
    # 4 · 2.8583 = 11.4: none
    sigma = torch.tensor([9.0, 1.0, 0.5])
    assert hard_threshold(sigma, m=3, n=3) == pytest.approx(2.8583, abs=1e-4)
    assert rank_above(sigma, hard_threshold(sigma, m=3, n=3)) == 1
    sigma = torch.tensor([9.0, 4.0, 2.0])
    assert rank_above(sigma, hard_threshold(sigma, m=3, n=3)) == 0


@pytest.mark.parametrize("beta", [0.05, 0.1, 0.25, 0.5, 0.75, 1.0])
def test_the_factor_is_within_the_error_of_the_published_cubic(beta: float) -> None:
    """Gavish and Donoho, equation 5: 0.56 β³ − 0.95 β² + 1.82 β + 1.43, off by at most 0.02."""
    cubic = 0.56 * beta**3 - 0.95 * beta**2 + 1.82 * beta + 1.43
    assert threshold_factor(beta) == pytest.approx(cubic, abs=0.02)


@pytest.mark.parametrize(("m", "n"), [(120, 120), (80, 240)])
def test_the_median_is_that_of_simulated_noise(m: int, n: int) -> None:
    # one draw's median spreads by the distance of two eigenvalues, so 20 are averaged
    noise = np.random.default_rng(5).standard_normal((20, m, n)) / math.sqrt(n)
    eigenvalues = np.linalg.eigvalsh(noise @ noise.transpose(0, 2, 1))
    median = float(np.median(eigenvalues, axis=1).mean())
    assert marchenko_pastur_median(m / n) == pytest.approx(median, rel=0.02)


@settings(deadline=None, max_examples=40)
@given(st.floats(1e-5, 1.0))
def test_the_median_lies_within_the_law_and_below_its_mean(beta: float) -> None:
    median = marchenko_pastur_median(beta)
    assert (1 - math.sqrt(beta)) ** 2 < median < 1


@pytest.mark.parametrize(("m", "n"), SHAPES)
def test_planted_directions_are_counted_without_knowing_the_noise(
    m: int, n: int, generator: torch.Generator
) -> None:
    sigma = singular_values(planted(m, n, 4, 2.0, generator))
    assert rank_above(sigma, hard_threshold(sigma, m=m, n=n)) == 4
    assert rank_above(sigma, tracy_widom_edge(m=m, n=n, noise=1.0)) == 4


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 9), st.integers(2, 9), st.floats(1e-3, 1e3))
def test_thresholds_scale_with_the_matrix_and_do_not_mind_its_side(
    m: int, n: int, scale: float
) -> None:
    sigma = torch.linspace(2.0, 1.0, min(m, n), dtype=torch.float64)
    once = hard_threshold(sigma, m=m, n=n)
    assert hard_threshold(sigma * scale, m=n, n=m) == pytest.approx(scale * once)
    edge = tracy_widom_edge(m=m, n=n, noise=1.0)
    assert tracy_widom_edge(m=n, n=m, noise=scale) == pytest.approx(scale * edge)
    floor = rounding_floor(m=m, n=n, rounding_energy=1.0)
    energy = scale * scale
    assert rounding_floor(m=n, n=m, rounding_energy=energy) == pytest.approx(scale * floor)


def test_the_edge_of_a_small_matrix_by_hand() -> None:
    # m = 4, n = 10: √9 + √4 = 5, μ = 25, s = 5 (1/3 + 1/2)^(1/3) = 5 (5/6)^(1/3) = 4.705180;
    # 2 √(25 + 0.9793 · 4.705180) = 2 √29.607783 = 10.882607
    assert tracy_widom_edge(m=4, n=10, noise=2.0) == pytest.approx(10.882607, abs=1e-5)


def test_the_quantile_is_that_of_the_tracy_widom_law() -> None:
    """F₁(s) = det(1 − K), K(x, y) = Ai((x + y)/2)/2 on (s, ∞) (Ferrari & Spohn 2005).

    By Gauss-Legendre quadrature on (s, s + 16), beyond which the kernel vanishes (Bornemann 2010).
    """
    nodes, weights = np.polynomial.legendre.leggauss(60)
    x, root = TW1_95 + 8 * (nodes + 1), np.sqrt(8 * weights)
    kernel = airy((x[:, None] + x[None, :]) / 2)[0] / 2
    distribution = np.linalg.det(np.eye(60) - root[:, None] * kernel * root[None, :])
    assert distribution == pytest.approx(0.95, abs=2e-5)


def test_noise_exceeds_the_edge_in_one_case_of_twenty() -> None:
    # 600 draws: one standard deviation of the share is √(0.05 · 0.95 / 600) = 0.009
    noise = np.random.default_rng(13).standard_normal((600, 20, 50))
    largest = np.linalg.norm(noise, ord=2, axis=(1, 2))
    share = float(np.mean(largest > tracy_widom_edge(m=20, n=50, noise=1.0)))
    assert 0.02 < share < 0.08


def test_the_rounding_floor_by_hand() -> None:
    # 4 x 9 errors of energy 36 in all: 1 per entry, so √4 + √9 = 5
    assert rounding_floor(m=4, n=9, rounding_energy=36.0) == pytest.approx(5.0)
    assert rounding_floor(m=4, n=9, rounding_energy=0.0) == 0.0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("m", "n"), [(250, 250), (150, 400)])
def test_the_floor_is_the_spectral_norm_of_real_rounding(
    m: int, n: int, dtype: torch.dtype, generator: torch.Generator
) -> None:
    exact = torch.randn(m, n, generator=generator, dtype=torch.float64)
    stored = exact.to(dtype)
    largest = float(singular_values(stored.double() - exact)[0])
    floor = rounding_floor(m=m, n=n, rounding_energy=rounding_energy(stored))
    assert floor == pytest.approx(largest, rel=0.05)


def test_input_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match="singular values are needed"):
        hard_threshold(torch.ones(2), m=3, n=4)
    with pytest.raises(ValueError, match="beta"):
        threshold_factor(1.5)
    with pytest.raises(ValueError, match="one entry"):
        tracy_widom_edge(m=1, n=1, noise=1.0)
