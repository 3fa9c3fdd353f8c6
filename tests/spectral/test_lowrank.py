"""Truncated deltas: the rank that each rule gives, and an error figure that is the error."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import Float
from torch import Tensor

from weightlens.delta import Delta, Dense, Factored
from weightlens.spectral.lowrank import Truncation, truncated

ALL = Truncation("energy", 1.0)


def with_spectrum(
    sigma: list[float], m: int, n: int, generator: torch.Generator
) -> Float[Tensor, "m n"]:
    """An m x n matrix with these singular values and random singular vectors."""
    k = len(sigma)
    u, v = (torch.linalg.qr(torch.randn(d, k, generator=generator).double())[0] for d in (m, n))
    return ((u * torch.tensor(sigma).double()) @ v.T).float()


def relative_error(delta: Delta, factors: Factored) -> float:
    """‖Δ − B A‖ / ‖Δ‖, multiplied out."""
    dense = delta.dense().double()
    product = factors.b.double() @ factors.a.double()
    return float(torch.linalg.norm(dense - product) / torch.linalg.norm(dense))


@pytest.mark.parametrize(("m", "n"), [(12, 20), (20, 12), (16, 16)])
def test_a_delta_of_rank_3_is_its_factors(m: int, n: int, generator: torch.Generator) -> None:
    delta = Dense(with_spectrum([5.0, 2.0, 1.0], m, n, generator))
    found = truncated(delta, Truncation("rank", 3))
    assert found.factors.rank == 3
    assert found.factors.scale == 1
    assert relative_error(delta, found.factors) < 3e-7
    assert found.error < 1e-6
    assert found.norm == pytest.approx(math.sqrt(30), rel=1e-6)


# σ² = 16, 9, 4, 1 of 30: shares 0.533, 0.833, 0.967, 1
@pytest.mark.parametrize(
    ("energy", "rank", "kept"),
    [(0.5, 1, 16 / 30), (0.54, 2, 25 / 30), (0.83, 2, 25 / 30), (0.9, 3, 29 / 30), (0.97, 4, 1)],
)
@pytest.mark.parametrize("factored", [False, True])
def test_energy_takes_the_fewest_directions_that_hold_it(
    energy: float, rank: int, kept: float, factored: bool
) -> None:
    matrix = torch.zeros(5, 7)
    for i, sigma in enumerate((4.0, 3.0, 2.0, 1.0)):
        matrix[4 - i, i] = sigma
    delta = Factored(torch.eye(5), matrix) if factored else Dense(matrix)
    found = truncated(delta, Truncation("energy", energy))
    assert found.factors.rank == rank
    assert found.energy == pytest.approx(kept)
    assert found.error == pytest.approx(math.sqrt(1 - kept), abs=1e-7)
    assert found.path == ("factored" if factored else "exact")


@pytest.mark.parametrize("most", [1, 2])
def test_no_rank_is_above_the_largest_asked_for(most: int, generator: torch.Generator) -> None:
    delta = Dense(with_spectrum([3.0, 3.0, 3.0, 3.0], 9, 8, generator))
    assert truncated(delta, Truncation("energy", 0.9, most)).factors.rank == most


@settings(deadline=None, max_examples=30)
@given(m=st.integers(1, 12), n=st.integers(1, 12), k=st.integers(1, 12), seed=st.integers(0, 999))
def test_the_error_figure_is_the_error(m: int, n: int, k: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    matrix = torch.randn(m, n, generator=generator)
    b, a = torch.randn(m, 4, generator=generator), torch.randn(4, n, generator=generator)
    for delta in (Dense(matrix), Factored(b, a, 0.5)):
        found = truncated(delta, Truncation("rank", k))
        assert relative_error(delta, found.factors) == pytest.approx(found.error, abs=1e-6)
        optimal = torch.linalg.svdvals(delta.dense().double())[k:]
        assert found.lost == pytest.approx(float(torch.linalg.norm(optimal)), abs=1e-6 * found.norm)


def test_factors_share_the_scale_evenly(generator: torch.Generator) -> None:
    """Columns of B and rows of A are both σ^½ long."""
    delta = Dense(with_spectrum([9.0, 4.0], 30, 6, generator))
    factors = truncated(delta, ALL).factors
    expected = torch.tensor([3.0, 2.0])
    assert torch.allclose(torch.linalg.norm(factors.b, dim=0)[:2], expected, atol=1e-5)
    assert torch.allclose(torch.linalg.norm(factors.a, dim=1)[:2], expected, atol=1e-5)


def test_directions_of_zeros_are_not_kept() -> None:
    """Dividing by their σ would blow rounding up."""
    matrix = torch.zeros(6, 8)
    matrix[1, 2], matrix[3, 3] = 2.0, 1.0
    for delta in (Dense(matrix), Factored(torch.eye(6), matrix)):
        found = truncated(delta, Truncation("rank", 5))
        assert found.factors.rank == 2
        assert torch.allclose(found.factors.dense(), matrix, atol=1e-6)


def test_noise_alone_has_no_directions_above_itself(generator: torch.Generator) -> None:
    for _ in range(5):
        noise = Dense(torch.randn(60, 90, generator=generator))
        found = truncated(noise, Truncation("noise", None))
        assert found.factors.rank == 0
        assert (found.energy, found.error) == (pytest.approx(0), pytest.approx(1))
        assert found.factors.dense().shape == (60, 90)


def test_of_spikes_in_noise_the_spikes_are_kept(generator: torch.Generator) -> None:
    """Noise of unit variance reaches √60 + √90 = 17.2; the spikes are at 40 and 60."""
    spikes = with_spectrum([60.0, 40.0], 60, 90, generator)
    delta = Dense(spikes + torch.randn(60, 90, generator=generator))
    found = truncated(delta, Truncation("noise", None))
    assert found.factors.rank == 2
    assert found.threshold is not None
    assert 17.2 < found.threshold < 40
    assert relative_error(Dense(spikes), found.factors) < 0.4


def test_noise_keeps_all_of_what_has_none(generator: torch.Generator) -> None:
    """Factors have no bulk to read a threshold from."""
    b, a = torch.randn(20, 3, generator=generator), torch.randn(3, 30, generator=generator)
    delta = Factored(b, a)
    found = truncated(delta, Truncation("noise", None))
    assert (found.factors.rank, found.threshold) == (3, None)
    assert relative_error(delta, found.factors) < 3e-7


def test_few_directions_of_a_large_matrix_take_the_partial_path(
    generator: torch.Generator,
) -> None:
    sigma = [2.0 ** (-i / 4) for i in range(24)]
    delta = Dense(with_spectrum(sigma, 520, 600, generator))
    found = truncated(delta, Truncation("rank", 6))
    assert found.path == "partial"
    assert relative_error(delta, found.factors) == pytest.approx(found.error, abs=1e-6)
    by_energy = truncated(delta, Truncation("energy", 0.5, 8))
    assert by_energy.path == "partial"
    # Σ_{i<k} 2^(-i/2) ∝ 1 − 2^(-k/2) up to 1e-3: 0.5 at k = 2
    assert by_energy.factors.rank == 2


@pytest.mark.parametrize(
    ("by", "value", "most"),
    [("energy", 0.0, None), ("energy", 1.5, None), ("rank", 0, None), ("rank", 2.5, None),
     ("rank", None, None), ("noise", 0.5, None), ("energy", 0.5, 0)],
)  # fmt: skip
def test_sizes_out_of_range_are_refused(by: str, value: float | None, most: int | None) -> None:
    with pytest.raises(ValueError):
        Truncation(by, value, most)  # type: ignore[arg-type]
