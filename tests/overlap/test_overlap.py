"""Overlaps: hand-worked numbers, laws, and factored against dense."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import overlap_by_svd

from weightlens.delta import Dense, Factored
from weightlens.overlap.rounding import rounding_energy
from weightlens.overlap.subspace import subspace_overlap
from weightlens.overlap.weighted import product_norm, weighted_overlap
from weightlens.spectral.basis import factorise
from weightlens.spectral.rank import SubspaceSize

shapes = st.tuples(st.integers(2, 12), st.integers(2, 12), st.integers(0, 2**31))


def drawn(m: int, n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(m, n, generator=generator), torch.randn(m, n, generator=generator)


def test_overlap_of_a_hand_worked_delta() -> None:
    # W = diag(2, 1), k = 1: U_1 = V_1 = e_1. Δ = [[3, 4], [0, 12]], ‖Δ‖² = 9 + 16 + 144 = 169.
    # column: first row, 25/169; row: first column, 9/169; both: 9/169; either: 25/169
    subspace = factorise(torch.diag(torch.tensor([2.0, 1.0]))).subspace(SubspaceSize("rank", 1))
    found = subspace_overlap(Dense(torch.tensor([[3.0, 4.0], [0.0, 12.0]])), subspace)
    assert found.column == pytest.approx(25 / 169)
    assert found.row == pytest.approx(9 / 169)
    assert found.both == pytest.approx(9 / 169)
    assert found.either == pytest.approx(25 / 169)


def test_weighted_overlap_of_a_hand_worked_delta() -> None:
    # W = diag(2, 1), ‖W‖² = 5; WᵀΔ = [[6, 8], [0, 12]]: 36 + 64 + 144 = 244;
    # ΔWᵀ = [[6, 4], [0, 12]]: 36 + 16 + 144 = 196
    base = torch.diag(torch.tensor([2.0, 1.0]))
    found = weighted_overlap(base, Dense(torch.tensor([[3.0, 4.0], [0.0, 12.0]])))
    assert found.column == pytest.approx(244 / (5 * 169))
    assert found.row == pytest.approx(196 / (5 * 169))


@settings(deadline=None, max_examples=40)
@given(shapes, st.floats(0.1, 0.95))
def test_agrees_with_numpy(shape: tuple[int, int, int], energy: float) -> None:
    base, delta = drawn(*shape)
    subspace = factorise(base).subspace(SubspaceSize("energy", energy))
    found = subspace_overlap(Dense(delta), subspace)
    weighted = weighted_overlap(base, Dense(delta))
    expected = overlap_by_svd(base.double().numpy(), delta.double().numpy(), energy)
    assert subspace.rank == expected.rank
    for ours, theirs in (
        (found.column, expected.column), (found.row, expected.row), (found.both, expected.both),
        (weighted.column, expected.weighted_column), (weighted.row, expected.weighted_row),
    ):  # fmt: skip
        assert ours == pytest.approx(theirs, abs=1e-5)


@settings(deadline=None, max_examples=40)
@given(shapes, st.integers(1, 4), st.floats(0.01, 100))
def test_factors_read_like_their_product(
    shape: tuple[int, int, int], rank: int, scale: float
) -> None:
    m, n, seed = shape
    base, _ = drawn(m, n, seed)
    generator = torch.Generator().manual_seed(seed + 1)
    b, a = torch.randn(m, rank, generator=generator), torch.randn(rank, n, generator=generator)
    factored = Factored(b, a, scale)
    product = Dense((b.double() @ a.double() * scale).float())
    subspace = factorise(base).subspace(SubspaceSize())
    ours = subspace_overlap(factored.compact(), subspace)
    theirs = subspace_overlap(product, subspace)
    for side in ("column", "row", "both", "either"):
        assert ours.side(side) == pytest.approx(theirs.side(side), abs=1e-5)
    weighted = weighted_overlap(base, factored.compact()), weighted_overlap(base, product)
    assert weighted[0].column == pytest.approx(weighted[1].column, abs=1e-5)
    assert weighted[0].row == pytest.approx(weighted[1].row, abs=1e-5)


@settings(deadline=None, max_examples=30)
@given(shapes, st.floats(0.001, 1000))
def test_scaling_the_delta_changes_nothing(shape: tuple[int, int, int], scale: float) -> None:
    base, delta = drawn(*shape)
    subspace = factorise(base).subspace(SubspaceSize())
    once = subspace_overlap(Dense(delta), subspace)
    twice = subspace_overlap(Dense(delta * scale), subspace)
    assert once.column == pytest.approx(twice.column, abs=1e-5)
    assert once.row == pytest.approx(twice.row, abs=1e-5)


@settings(deadline=None, max_examples=30)
@given(shapes)
def test_turning_base_and_delta_together_changes_nothing(shape: tuple[int, int, int]) -> None:
    m, n, seed = shape
    base, delta = drawn(m, n, seed)
    generator = torch.Generator().manual_seed(seed + 2)
    left, _ = torch.linalg.qr(torch.randn(m, m, generator=generator))
    right, _ = torch.linalg.qr(torch.randn(n, n, generator=generator))
    size = SubspaceSize("rank", 1)
    plain = subspace_overlap(Dense(delta), factorise(base).subspace(size))
    turned_base = factorise(left @ base @ right).subspace(size)
    turned = subspace_overlap(Dense(left @ delta @ right), turned_base)
    assert plain.column == pytest.approx(turned.column, abs=2e-3)
    assert plain.row == pytest.approx(turned.row, abs=2e-3)


def test_the_whole_short_side_holds_everything(generator: torch.Generator) -> None:
    base = torch.randn(6, 10, generator=generator)
    subspace = factorise(base).subspace(SubspaceSize("rank", 6))
    found = subspace_overlap(Dense(torch.randn(6, 10, generator=generator)), subspace)
    assert found.column == pytest.approx(1.0, abs=1e-6)


def test_a_delta_along_the_base_lies_wholly_inside(generator: torch.Generator) -> None:
    base = torch.randn(6, 10, generator=generator)
    subspace = factorise(base).subspace(SubspaceSize("rank", 2))
    delta = (subspace.u * torch.tensor([3.0, 1.0])) @ subspace.v.T
    found = subspace_overlap(Dense(delta), subspace)
    assert (found.column, found.row, found.both) == pytest.approx((1.0, 1.0, 1.0), abs=1e-6)


def test_both_ways_to_the_norm_of_a_product_agree(generator: torch.Generator) -> None:
    left = torch.randn(9, 3, generator=generator)
    right = torch.randn(3, 8, generator=generator)
    through_gram = product_norm(left, right)
    plain = float((left.double() @ right.double()).square().sum())
    assert through_gram == pytest.approx(plain)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_rounding_energy_is_that_of_rounding(dtype: torch.dtype) -> None:
    """Numbers in float64 cast to a dtype: the squared error is Σ ulp² / 12."""
    generator = torch.Generator().manual_seed(3)
    exact = torch.randn(200_000, generator=generator, dtype=torch.float64)
    stored = exact.to(dtype)
    error = float((exact - stored.double()).square().sum())
    assert rounding_energy(stored) == pytest.approx(error, rel=0.02)


def test_rounding_energy_of_one_is_that_of_its_binade() -> None:
    # bfloat16 has 7 fraction bits: ulp(1) = 2^-7; ulp(0.75) = 2^-8; zero counts as the smallest
    stored = torch.tensor([1.0, 0.75], dtype=torch.bfloat16)
    assert rounding_energy(stored) == pytest.approx((2**-14 + 2**-16) / 12)
    assert math.isfinite(rounding_energy(torch.zeros(3, dtype=torch.float16)))


def test_overlap_of_numpy_reference_with_itself() -> None:
    """The reference is no mirror: along the base it reads 1, orthogonal to it 0."""
    base = np.diag([3.0, 2.0, 1.0])
    inside, outside = np.zeros((3, 3)), np.zeros((3, 3))
    inside[0, 0], outside[2, 2] = 1.0, 1.0
    assert overlap_by_svd(base, inside, 0.5).column == pytest.approx(1)
    assert overlap_by_svd(base, outside, 0.5).column == pytest.approx(0)
