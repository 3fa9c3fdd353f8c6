"""Intruder dimensions: a hand-worked case, laws, and NumPy's direct SVD."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from weightlens.overlap.intruders import intruder_dimensions
from weightlens.spectral.basis import factorise

shapes = st.tuples(st.integers(2, 12), st.integers(2, 12), st.integers(0, 2**31))


def drawn(m: int, n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(m, n, generator=generator), torch.randn(m, n, generator=generator)


def cosines_by_svd(base: torch.Tensor, tuned: torch.Tensor, count: int) -> list[np.ndarray]:
    u, _, vt = np.linalg.svd(base.double().numpy(), full_matrices=False)
    u_tuned, _, vt_tuned = np.linalg.svd(tuned.double().numpy(), full_matrices=False)
    left = np.abs(u_tuned[:, :count].T @ u).max(axis=1)
    return [left, np.abs(vt_tuned[:count] @ vt.T).max(axis=1)]


def test_a_direction_that_the_base_lacks_intrudes_by_hand() -> None:
    # W = [[2, 0, 0], [0, 1, 0]]: u = e1, e2; v = e1, e2.
    # W' is made of σ' = 3 with u' = (e1 + e2)/√2, v' = e3, and σ' = 1 with u' = (e1 − e2)/√2,
    # v' = e1. Left cosines: 1/√2 and 1/√2; right: 0 (e3 is no v) and 1.
    half = 0.5**0.5
    base = torch.tensor([[2.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    tuned = torch.tensor([[half, 0.0, 3 * half], [-half, 0.0, 3 * half]])
    found = intruder_dimensions(factorise(base), tuned, count=2)
    assert found.left.cosines.tolist() == pytest.approx([half, half])
    assert found.right.cosines.tolist() == pytest.approx([0.0, 1.0], abs=1e-7)
    assert found.left.indices == ()
    assert found.right.indices == (0,)
    strict = intruder_dimensions(factorise(base), tuned, count=2, threshold=0.75)
    assert strict.left.indices == (0, 1)
    assert strict.right.indices == (0,)


@settings(deadline=None, max_examples=40)
@given(shapes, st.floats(0.1, 1.0))
def test_agrees_with_numpy(shape: tuple[int, int, int], threshold: float) -> None:
    base, tuned = drawn(*shape)
    count = min(base.shape)
    found = intruder_dimensions(factorise(base), tuned, count=count, threshold=threshold)
    left, right = cosines_by_svd(base, tuned, count)
    for ours, theirs in ((found.left, left), (found.right, right)):
        assert ours.cosines.numpy() == pytest.approx(theirs, abs=1e-3)
        expected = np.flatnonzero(ours.cosines.numpy() < threshold)
        assert ours.indices == tuple(expected.tolist())


@settings(deadline=None, max_examples=30)
@given(shapes, st.floats(0.1, 10))
def test_a_scaled_base_has_no_intruders(shape: tuple[int, int, int], scale: float) -> None:
    base, _ = drawn(*shape)
    found = intruder_dimensions(factorise(base), base * scale, count=min(base.shape))
    assert found.left.indices == found.right.indices == ()
    assert found.left.cosines.min() > 0.99


@settings(deadline=None, max_examples=30)
@given(shapes)
def test_turning_both_changes_nothing(shape: tuple[int, int, int]) -> None:
    m, n, seed = shape
    base, tuned = (matrix.double() for matrix in drawn(m, n, seed))
    generator = torch.Generator().manual_seed(seed + 1)
    left, _ = torch.linalg.qr(torch.randn(m, m, generator=generator, dtype=torch.float64))
    right, _ = torch.linalg.qr(torch.randn(n, n, generator=generator, dtype=torch.float64))
    plain = intruder_dimensions(factorise(base), tuned, count=1)
    turned = intruder_dimensions(factorise(left @ base @ right), left @ tuned @ right, count=1)
    assert torch.allclose(plain.left.cosines, turned.left.cosines, atol=1e-4)
    assert torch.allclose(plain.right.cosines, turned.right.cosines, atol=1e-4)


@pytest.mark.parametrize(("m", "n"), [(40, 40), (30, 60), (60, 30)])
def test_a_strong_random_direction_intrudes_and_a_weak_one_does_not(
    m: int, n: int, generator: torch.Generator
) -> None:
    base = torch.randn(m, n, generator=generator)
    sigma = factorise(base).sigma
    column = torch.nn.functional.normalize(torch.randn(m, 1, generator=generator), dim=0)
    row = torch.nn.functional.normalize(torch.randn(1, n, generator=generator))
    strong = base + 10 * float(sigma[0]) * column @ row
    found = intruder_dimensions(factorise(base), strong, count=1, threshold=0.6)
    assert found.left.indices == found.right.indices == (0,)
    weak = base + 1e-4 * float(sigma[0]) * column @ row
    found = intruder_dimensions(factorise(base), weak, count=1, threshold=0.6)
    assert found.left.indices == found.right.indices == ()


def test_a_base_of_low_rank_is_compared_without_blowing_up(generator: torch.Generator) -> None:
    base = torch.randn(6, 2, generator=generator) @ torch.randn(2, 15, generator=generator)
    tuned = torch.randn(6, 15, generator=generator)
    found = intruder_dimensions(factorise(base), tuned, count=6)
    for side in (found.left, found.right):
        assert torch.isfinite(side.cosines).all()
        assert float(side.cosines.max()) <= 1
    own = intruder_dimensions(factorise(base), base, count=2)
    assert float(own.right.cosines.min()) > 0.999


def test_a_count_or_threshold_out_of_range_is_refused() -> None:
    base = factorise(torch.eye(3))
    with pytest.raises(ValueError, match="exceeds min"):
        intruder_dimensions(base, torch.eye(3), count=4)
    with pytest.raises(ValueError, match="at least 1"):
        intruder_dimensions(base, torch.eye(3), count=0)
    with pytest.raises(ValueError, match="threshold"):
        intruder_dimensions(base, torch.eye(3), count=1, threshold=0.0)
