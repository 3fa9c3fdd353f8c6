"""The leading singular triplets alone: against LAPACK's, within their own certificate, or not."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from weightlens.spectral import partial
from weightlens.spectral.basis import Factorisation, factorise
from weightlens.spectral.gram import short_gram
from weightlens.spectral.lanczos import Leading, lanczos
from weightlens.spectral.partial import ANGLE_BOUND, factorise_leading, worthwhile
from weightlens.spectral.rank import SubspaceSize

ROUNDED = 6e-8
"""What rounding a unit vector to float32 moves it by at most."""

INDEX = torch.arange(1, 521, dtype=torch.float64)
SPECTRA = {
    "i^-0.5": INDEX**-0.5,
    "i^-1": 1 / INDEX,
    "i^-2": INDEX**-2,
    "exponential": torch.exp(-INDEX / 10),
    "straight": torch.linspace(2, 1, 520, dtype=torch.float64),
    "20 above a flat cluster": torch.cat([torch.linspace(1.1, 1, 20), torch.full((500,), 0.3)]),
    "of rank 40": torch.linspace(2, 1, 40, dtype=torch.float64),
    "three and zeros": torch.tensor([3.0, 2.0, 1.0], dtype=torch.float64),
}
CERTIFIED = {
    "i^-0.5": (1, 16, 40, 65), "i^-1": (1, 16), "i^-2": (1, 4), "exponential": (1, 16),
    "straight": (1, 16), "20 above a flat cluster": (1, 16, 20), "of rank 40": (1, 16, 40),
    "three and zeros": (1, 2, 3),
}  # fmt: skip
"""Ranks whose gap is some hundred times what float32 leaves of G, 1e-7 σ₁²."""


def with_spectrum(m: int, n: int, sigma: Tensor, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    u, v = (
        torch.linalg.qr(torch.randn(d, len(sigma), generator=generator, dtype=torch.float64))[0]
        for d in (m, n)
    )
    return ((u * sigma.double()) @ v.T).float()


@dataclass(frozen=True)
class Svd:
    """LAPACK's, of the matrix itself in float64, as torch calls it: NumPy's OpenBLAS would run two
    threads, which on a busy machine takes twenty times as long."""

    u: Tensor
    sigma: np.ndarray
    v: Tensor

    @classmethod
    def of(cls, matrix: Tensor) -> "Svd":
        u, sigma, vt = torch.linalg.svd(matrix.double(), full_matrices=False)
        return cls(u, sigma.numpy(), vt.T)


def sine(ours: Tensor, theirs: Tensor) -> float:
    """Of the largest angle between two column spaces: ‖(I − P) Q‖₂."""
    basis = torch.linalg.qr(ours.double())[0]
    outside = basis - theirs @ (theirs.T @ basis)
    return float(torch.linalg.matrix_norm(outside, 2))


def check_within_bound(found: Factorisation, k: int, svd: Svd) -> None:
    """Both sides no further from LAPACK's than their certificate says."""
    subspace = found.subspace(SubspaceSize("rank", k))
    allowed = subspace.angle_bound + ROUNDED * math.sqrt(k)
    assert sine(subspace.u, svd.u[:, :k]) <= allowed
    assert sine(subspace.v, svd.v[:, :k]) <= allowed


@pytest.mark.parametrize(("m", "n"), [(520, 700), (700, 520)])
@pytest.mark.parametrize("name", SPECTRA)
def test_certified_subspaces_are_lapacks(name: str, m: int, n: int) -> None:
    matrix = with_spectrum(m, n, SPECTRA[name])
    svd = Svd.of(matrix)
    for k in CERTIFIED[name]:
        found = factorise_leading(matrix, k)
        assert found.path == "partial", k
        assert len(found.sigma) == k and not found.complete
        assert found.certificate(k)[1] < ANGLE_BOUND
        check_within_bound(found, k, svd)
        assert found.sigma.numpy() == pytest.approx(svd.sigma[:k], rel=1e-6)
        energy = float(np.sum(svd.sigma[:k] ** 2) / np.sum(svd.sigma**2))
        assert found.energy(k) == pytest.approx(energy, rel=1e-5)


@settings(deadline=None, max_examples=12)
@given(st.integers(0, 2**31), st.floats(0.05, 2.5), st.integers(1, 64), st.booleans())
def test_whatever_the_spectrum_the_certificate_holds(
    seed: int, power: float, k: int, tall: bool
) -> None:
    """σ_i = x_i i^-p with random x_i: gaps large and small, and no x certified wrongly."""
    generator = torch.Generator().manual_seed(seed)
    noise = 0.5 + torch.rand(512, generator=generator, dtype=torch.float64)
    sigma = (noise * INDEX[:512] ** -power).sort(descending=True).values
    matrix = with_spectrum(512, 560, sigma, seed)
    matrix = matrix.T if tall else matrix
    found = factorise_leading(matrix, k)
    assert found.path in ("partial", "fallback")
    check_within_bound(found, k, Svd.of(matrix))


def test_a_matrix_of_noise_is_certified_or_done_exactly(generator: torch.Generator) -> None:
    """Marchenko-Pastur: the leading σ² lie some 1e-2 σ₁² apart, by chance less."""
    matrix = torch.randn(512, 640, generator=generator)
    svd = Svd.of(matrix)
    for k in (1, 7, 40):
        check_within_bound(factorise_leading(matrix, k), k, svd)


def test_equal_singular_values_fall_back_and_say_so() -> None:
    """diag(3, 2, 2, 1, …, 1): U_1 and U_3 are unique, U_2 is not, and float32 holds it exactly."""
    matrix = torch.zeros(520, 700)
    matrix.diagonal().copy_(torch.tensor([3.0, 2.0, 2.0, *[1.0] * 517]))
    for k, path in ((1, "partial"), (2, "fallback"), (3, "partial"), (4, "fallback")):
        found = factorise_leading(matrix, k)
        assert found.path == path
        subspace = found.subspace(SubspaceSize("rank", k))
        if path == "partial":
            assert subspace.gap == pytest.approx({1: 9 - 4, 3: 4 - 1}[k], rel=1e-5)
        else:
            assert found.complete
            assert subspace.gap == pytest.approx(0, abs=1e-12)
            assert math.isinf(subspace.angle_bound)


def test_few_rows_or_many_vectors_are_done_exactly(generator: torch.Generator) -> None:
    # 512 / 8 = 64
    assert [worthwhile(511, 1), worthwhile(512, 64), worthwhile(512, 65)] == [False, True, False]
    for shape, k in (((511, 900), 3), ((900, 511), 3), ((520, 530), 66), ((4, 4), 1)):
        found = factorise_leading(torch.randn(shape, generator=generator), k)
        assert (found.path, found.complete) == ("exact", True)


@pytest.mark.parametrize("k", [-1, 0, 521])
def test_a_rank_outside_the_matrix_is_refused(k: int) -> None:
    with pytest.raises(ValueError, match=r"min\(m, n\) = 520"):
        factorise_leading(torch.zeros(520, 700), k)


@pytest.mark.parametrize("name", ["i^-0.5", "i^-1", "of rank 40", "three and zeros"])
def test_gap_and_what_lies_beyond_are_those_of_the_spectrum(name: str) -> None:
    """The gap to a few eps of float32 times σ₁²; σ_{k+1}² never above what is allowed for."""
    matrix = with_spectrum(520, 700, SPECTRA[name])
    squared = Svd.of(matrix).sigma ** 2
    for k in CERTIFIED[name]:
        found = factorise_leading(matrix, k)
        gap, _ = found.certificate(k)
        assert gap == pytest.approx(squared[k - 1] - squared[k], abs=1e-5 * squared[0])
        assert squared[k] <= found.beyond + found.beyond_error


def test_a_smaller_cut_is_certified_on_its_own() -> None:
    """σ_8 and σ_9 share nine digits: cut between them there is no telling, elsewhere there is."""
    sigma = SPECTRA["i^-0.5"].clone()
    sigma[8] = sigma[7] * (1 - 1e-9)
    matrix = with_spectrum(520, 700, sigma)
    svd = Svd.of(matrix)
    found = factorise_leading(matrix, 24)
    assert found.path == "partial"
    for k in range(1, 25):
        check_within_bound(found, k, svd)
        gap, bound = found.certificate(k)
        assert gap == pytest.approx(svd.sigma[k - 1] ** 2 - svd.sigma[k] ** 2, abs=1e-5)
        assert bound > 0.1 if k == 8 else bound < ANGLE_BOUND


def test_what_lies_beyond_is_taken_at_its_largest() -> None:
    """G = diag(a, b) with a = 2, b = 1 and û = (cos θ, sin θ), so that θ̂ = b + (a − b) cos² θ and
    ‖R‖ = (a − b) sin θ cos θ. Beyond lies 0, or at most b more: the gap that is certain is
    θ̂ − b = cos² θ, and the bound sin θ cos θ / cos² θ = tan θ. A gap of θ̂ would give half of it."""
    theta = 0.01
    found = Factorisation(
        matrix=torch.diag(torch.tensor([2.0, 1.0])).double().sqrt(),
        sigma_squared=torch.tensor([1 + math.cos(theta) ** 2], dtype=torch.float64),
        vectors=torch.tensor([[math.cos(theta)], [math.sin(theta)]], dtype=torch.float64),
        squared_norm=3.0,
        residuals=torch.tensor([math.sin(theta) * math.cos(theta)], dtype=torch.float64),
        path="partial",
        beyond=0.0,
        beyond_error=1.0,
    )
    gap, bound = found.certificate(1)
    assert gap == pytest.approx(1 + math.cos(theta) ** 2)
    assert bound == pytest.approx(math.tan(theta))
    assert bound > math.sin(theta)


def test_more_vectors_than_are_known_are_refused() -> None:
    found = factorise_leading(with_spectrum(520, 700, SPECTRA["i^-0.5"]), 24)
    with pytest.raises(ValueError, match="rank 30 is asked for, 24 are known"):
        found.subspace(SubspaceSize("rank", 30))
    with pytest.raises(ValueError, match="exceeds"):
        found.subspace(SubspaceSize("rank", 521))


def test_energy_is_a_share_of_the_whole_matrix_not_of_what_is_known() -> None:
    """σ_i² = 1/i: H(24) / H(520) = 3.776 / 6.832 = 0.553. So 0.4 is within reach, as rank 9
    (H(8) = 2.718 < 0.4 · 6.832 = 2.733 ≤ H(9) = 2.829), and 0.6 is not."""
    found = factorise_leading(with_spectrum(520, 700, SPECTRA["i^-0.5"]), 24)
    assert found.energy(24) == pytest.approx(0.553, abs=1e-3)
    assert found.subspace(SubspaceSize("energy", 0.4)).rank == 9
    with pytest.raises(ValueError, match="known"):
        found.subspace(SubspaceSize("energy", 0.6))


@pytest.mark.parametrize("missed", [0, 5, 15])
def test_a_missed_direction_is_noticed(missed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lanczos may miss one. The others look perfect, and their residuals are tiny."""

    def blind(gram: Tensor, k: int) -> Leading:
        values, vectors = torch.linalg.eigh(gram.double())
        kept = [i for i in range(len(gram)) if i != missed]
        return Leading(values.flip(0)[kept][: k + 8], vectors.flip(1)[:, kept][:, :k].to(gram))

    matrix = with_spectrum(520, 700, SPECTRA["i^-0.5"])
    monkeypatch.setattr(partial, "lanczos", blind)
    found = factorise_leading(matrix, 16)
    assert found.path == "fallback"
    check_within_bound(found, 16, Svd.of(matrix))


def test_vectors_that_are_off_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last one turned by 45° towards the next: one step in float64 does not repair that."""

    def careless(gram: Tensor, k: int) -> Leading:
        values, vectors = torch.linalg.eigh(gram.double())
        values, vectors = values.flip(0), vectors.flip(1)[:, : k + 1]
        turned = (vectors[:, k - 1 : k] + vectors[:, k:]) / math.sqrt(2)
        return Leading(values, torch.cat([vectors[:, : k - 1], turned], dim=1).to(gram))

    matrix = with_spectrum(520, 700, SPECTRA["i^-0.5"])
    monkeypatch.setattr(partial, "lanczos", careless)
    found = factorise_leading(matrix, 16)
    assert found.path == "fallback"
    check_within_bound(found, 16, Svd.of(matrix))


@pytest.mark.parametrize("name", SPECTRA)
def test_lanczos_finds_the_leading_pairs_whatever_follows_them(name: str) -> None:
    """Also where its blocks run out of new directions, as they do above a cluster or zeros."""
    gram = short_gram(with_spectrum(520, 700, SPECTRA[name]), dtype=torch.float32)
    expected = torch.linalg.eigvalsh(gram.double()).flip(0).numpy()
    for k in (1, 16, 65):
        found = lanczos(gram, k)
        assert len(found.values) > k
        off = np.abs(found.values.numpy()[: k + 1] - expected[: k + 1]).max()
        assert off <= 1e-5 * expected[0]
        eye = torch.eye(k)
        assert torch.allclose(found.vectors.T @ found.vectors, eye, atol=1e-5)


def test_the_same_matrix_gives_the_same_bits() -> None:
    matrix = with_spectrum(520, 700, SPECTRA["i^-0.5"])
    torch.manual_seed(1)
    first = factorise_leading(matrix, 16)
    torch.manual_seed(2)
    second = factorise_leading(matrix.clone(), 16)
    assert first.path == "partial"
    assert torch.equal(first.vectors, second.vectors)
    assert torch.equal(first.sigma_squared, second.sigma_squared)
    assert torch.equal(first.residuals, second.residuals)
    assert first.certificate(16) == second.certificate(16)


@pytest.mark.parametrize("scale", [1e-30, 1e-19, 1e-6, 3.7, 1e6, 1e18, 1e20, 1e37])
def test_scaling_the_matrix_scales_its_singular_values_alone(scale: float) -> None:
    """Squares leave float32 at both ends, σ and subspaces do not."""
    matrix = with_spectrum(520, 700, SPECTRA["i^-0.5"])
    scaled = (scale * matrix.double()).float()
    plain, found = factorise_leading(matrix, 16), factorise_leading(scaled, 16)
    assert found.sigma[:16].numpy() == pytest.approx(scale * plain.sigma.numpy(), rel=1e-5)
    assert found.energy(16) == pytest.approx(plain.energy(16), rel=1e-5)
    bounds = found.certificate(16)[1] + plain.certificate(16)[1]
    assert bounds < 2 * ANGLE_BOUND
    assert sine(found.vectors[:, :16], plain.vectors) <= bounds + 1e-7


@pytest.mark.parametrize(("m", "n"), [(520, 700), (700, 520)])
def test_a_zero_matrix_has_a_subspace_of_no_energy(m: int, n: int) -> None:
    found = factorise_leading(torch.zeros(m, n), 8)
    assert found.path == "fallback"
    subspace = found.subspace(SubspaceSize("rank", 8))
    assert (subspace.energy, subspace.gap) == (0.0, 0.0)
    assert math.isinf(subspace.angle_bound)
    for side in (subspace.u, subspace.v):
        assert torch.allclose(side.T @ side, torch.eye(8), atol=1e-5)


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 14), st.integers(1, 14), st.integers(0, 2**31), st.floats(0, 6))
def test_every_cut_of_an_exact_factorisation_is_within_its_bound(
    m: int, n: int, seed: int, decades: float
) -> None:
    """As made and as kept in float32, over spectra of up to six decades."""
    generator = torch.Generator().manual_seed(seed)
    sigma = 10 ** (-decades * torch.rand(min(m, n), generator=generator, dtype=torch.float64))
    matrix = with_spectrum(m, n, sigma.sort(descending=True).values, seed)
    u, values, vt = np.linalg.svd(matrix.double().numpy(), full_matrices=False)
    # NumPy's own error: some eps σ₁ over the gap of σ (up to 25 was seen, against 50 digits)
    gaps = values - np.append(values[1:], 0)
    numpys = 100 * 2.0**-52 * values[0] / np.maximum(gaps, 1e-300)
    made = factorise(matrix)
    for found in (made, made.rounded()):
        for k in range(1, min(m, n) + 1):
            subspace = found.subspace(SubspaceSize("rank", k))
            allowed = subspace.angle_bound + ROUNDED * math.sqrt(k) + numpys[k - 1]
            for ours, theirs in ((subspace.u, u[:, :k]), (subspace.v, vt[:k].T)):
                angle = scipy.linalg.subspace_angles(ours.double().numpy(), theirs).max()
                assert np.sin(angle) <= allowed


def test_vectors_rounded_to_float32_say_so(generator: torch.Generator) -> None:
    made = factorise(torch.randn(30, 50, generator=generator))
    kept = made.rounded()
    assert torch.equal(kept.vectors, made.vectors.float().double())
    assert torch.equal(kept.rounded().vectors, kept.vectors)
    moved = float(torch.linalg.matrix_norm(kept.vectors[:, :9] - made.vectors[:, :9], 2))
    assert 0 < moved <= kept.certificate(9)[1] - made.certificate(9)[1]
