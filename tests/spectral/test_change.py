"""Change of the base's spectrum: a hand-worked number, the bounds of Weyl and Mirsky, NumPy."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from weightlens.spectral.change import spectrum_change
from weightlens.spectral.gram import singular_values

shapes = st.tuples(st.integers(1, 12), st.integers(1, 12), st.integers(0, 2**31))


def drawn(m: int, n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(m, n, generator=generator), torch.randn(m, n, generator=generator)


def test_change_of_a_hand_worked_pair() -> None:
    # W = diag(4, 3), Δ = diag(1, −3): σ = (4, 3), σ' = (5, 0); changes 1 and −3, relative 1/4 and
    # −1; in norm √(1 + 9) / √(16 + 9) = √10 / 5
    before = singular_values(torch.diag(torch.tensor([4.0, 3.0])))
    after = singular_values(torch.diag(torch.tensor([5.0, 0.0])))
    found = spectrum_change(before, after)
    assert found.absolute.tolist() == pytest.approx([1.0, -3.0])
    assert found.relative.tolist() == pytest.approx([0.25, -1.0])
    assert found.in_norm == pytest.approx(math.sqrt(10) / 5)


@settings(deadline=None, max_examples=60)
@given(shapes, st.floats(1e-4, 10))
def test_the_bounds_of_weyl_and_mirsky_hold(shape: tuple[int, int, int], scale: float) -> None:
    base, delta = drawn(*shape)
    delta = delta * scale
    found = spectrum_change(singular_values(base), singular_values(base + delta))
    slack = 1e-5 * float(torch.linalg.matrix_norm(base) + torch.linalg.matrix_norm(delta))
    assert float(found.absolute.abs().max()) <= torch.linalg.matrix_norm(delta, 2) + slack
    change = float(torch.linalg.vector_norm(found.absolute))
    assert change <= torch.linalg.matrix_norm(delta) + slack


@settings(deadline=None, max_examples=40)
@given(shapes)
def test_agrees_with_numpy(shape: tuple[int, int, int]) -> None:
    base, delta = drawn(*shape)
    found = spectrum_change(singular_values(base), singular_values(base + delta))
    before, after = (
        np.linalg.svd(matrix.double().numpy(), compute_uv=False) for matrix in (base, base + delta)
    )
    assert found.absolute.numpy() == pytest.approx(after - before, abs=1e-5)
    expected = np.linalg.norm(after - before) / np.linalg.norm(before)
    assert found.in_norm == pytest.approx(expected, abs=1e-5)


@settings(deadline=None, max_examples=40)
@given(shapes)
def test_turning_the_singular_vectors_changes_nothing(shape: tuple[int, int, int]) -> None:
    m, n, seed = shape
    base = drawn(m, n, seed)[0].double()
    generator = torch.Generator().manual_seed(seed + 1)
    turn, _ = torch.linalg.qr(torch.randn(m, m, generator=generator, dtype=torch.float64))
    found = spectrum_change(singular_values(base), singular_values(turn @ base))
    assert found.in_norm == pytest.approx(0, abs=1e-6)


@settings(deadline=None, max_examples=40)
@given(shapes, st.floats(0.01, 100))
def test_scaling_the_base_moves_every_value_alike(
    shape: tuple[int, int, int], scale: float
) -> None:
    sigma = singular_values(drawn(*shape)[0])
    found = spectrum_change(sigma, scale * sigma)
    assert found.relative.numpy() == pytest.approx(scale - 1, rel=1e-9, abs=1e-12)
    assert found.in_norm == pytest.approx(abs(scale - 1), rel=1e-9, abs=1e-12)


def test_values_of_rounding_size_have_no_relative_change() -> None:
    found = spectrum_change(torch.tensor([1.0, 1e-9]), torch.tensor([1.0, 1e-3]))
    assert found.relative[0] == 0
    assert math.isnan(found.relative[1])
    assert found.absolute[1] == pytest.approx(1e-3)


def test_a_base_of_zeros_has_no_relative_change() -> None:
    found = spectrum_change(torch.zeros(2), torch.ones(2))
    assert found.relative.isnan().all()
    assert math.isnan(found.in_norm)
