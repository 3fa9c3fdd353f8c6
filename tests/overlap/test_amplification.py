"""LoRA's amplification factor: a hand-worked number, laws, and NumPy."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from weightlens.delta import Dense, Factored
from weightlens.overlap.amplification import amplification

shapes = st.tuples(st.integers(2, 12), st.integers(2, 12), st.integers(0, 2**31))


def drawn(m: int, n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(m, n, generator=generator), torch.randn(m, n, generator=generator)


def factor_by_svd(base: torch.Tensor, delta: torch.Tensor, rank: int) -> float:
    u, _, vt = np.linalg.svd(delta.double().numpy(), full_matrices=False)
    inner = u[:, :rank].T @ base.double().numpy() @ vt[:rank].T
    return float(np.linalg.norm(delta.double().numpy()) / np.linalg.norm(inner))


def test_amplification_of_a_hand_worked_delta() -> None:
    # W = [[1, 2], [3, 4]]; Δ = diag(4, 3): U = V = I, ‖Δ‖ = 5.
    # r = 1: U_1ᵀ W V_1 = 1, factor 5; r = 2: ‖W‖ = √30, factor 5 / √30
    base = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    delta = Dense(torch.diag(torch.tensor([4.0, 3.0])))
    assert amplification(base, delta, 1).factor == pytest.approx(5.0)
    assert amplification(base, delta, 2).factor == pytest.approx(5 / math.sqrt(30))


@settings(deadline=None, max_examples=40)
@given(shapes, st.integers(1, 12))
def test_agrees_with_numpy(shape: tuple[int, int, int], rank: int) -> None:
    base, delta = drawn(*shape)
    found = amplification(base, Dense(delta), rank)
    assert found.rank == min(rank, *base.shape)
    assert found.factor == pytest.approx(factor_by_svd(base, delta, found.rank), rel=1e-3)


@settings(deadline=None, max_examples=40)
@given(shapes, st.floats(0.01, 100))
def test_scaling_the_delta_scales_the_factor(shape: tuple[int, int, int], scale: float) -> None:
    base, delta = drawn(*shape)
    once = amplification(base, Dense(delta), 1).factor
    assert amplification(base, Dense(delta * scale), 1).factor == pytest.approx(
        scale * once, rel=1e-3
    )


@settings(deadline=None, max_examples=30)
@given(shapes)
def test_turning_base_and_delta_together_changes_nothing(shape: tuple[int, int, int]) -> None:
    m, n, seed = shape
    base, delta = (matrix.double() for matrix in drawn(m, n, seed))
    generator = torch.Generator().manual_seed(seed + 1)
    left, _ = torch.linalg.qr(torch.randn(m, m, generator=generator, dtype=torch.float64))
    right, _ = torch.linalg.qr(torch.randn(n, n, generator=generator, dtype=torch.float64))
    full = min(m, n)
    plain = amplification(base, Dense(delta), full).factor
    turned = amplification(left @ base @ right, Dense(left @ delta @ right), full).factor
    assert plain == pytest.approx(turned, rel=1e-4)


def test_the_base_as_its_own_delta_is_not_amplified(generator: torch.Generator) -> None:
    base = torch.randn(5, 8, generator=generator)
    assert amplification(base, Dense(base), 5).factor == pytest.approx(1.0)


def test_factors_read_like_their_product_up_to_the_rank_they_have(
    generator: torch.Generator,
) -> None:
    base = torch.randn(7, 9, generator=generator)
    lora = Factored(torch.randn(7, 3, generator=generator), torch.randn(3, 9, generator=generator))
    for rank, used in ((2, 2), (3, 3), (6, 3)):
        factored = amplification(base, lora.compact(), rank)
        dense = amplification(base, Dense(lora.dense()), rank)
        exact = amplification(base, Dense(lora.b.double() @ lora.a.double()), rank)
        assert factored.rank == dense.rank == exact.rank == used
        assert factored.factor == pytest.approx(dense.factor, rel=1e-4)
        assert factored.factor == pytest.approx(factor_by_svd(base, lora.dense(), used), rel=1e-4)


def test_directions_that_the_base_lacks_are_amplified_without_end() -> None:
    base, delta = torch.zeros(2, 2), torch.zeros(2, 2)
    base[0, 0], delta[1, 1] = 1.0, 0.5
    assert math.isinf(amplification(base, Dense(delta), 1).factor)


def test_a_delta_of_zeros_and_a_rank_of_zero_are_refused() -> None:
    with pytest.raises(ZeroDivisionError):
        amplification(torch.eye(2), Dense(torch.zeros(2, 2)), 1)
    with pytest.raises(ValueError, match="at least 1"):
        amplification(torch.eye(2), Dense(torch.eye(2)), 0)


def test_directions_of_random_orientation_read_the_chance_factor(
    generator: torch.Generator,
) -> None:
    """E ‖U_rᵀ W V_r‖² = ‖W‖² r²/(mn): the mean of 1/factor² over draws, to four standard errors."""
    base = torch.randn(10, 14, generator=generator)
    found = [
        amplification(
            base,
            Factored(
                torch.randn(10, 3, generator=generator), torch.randn(3, 14, generator=generator)
            ).compact(),
            3,
        )
        for _ in range(300)
    ]
    ratios = torch.tensor([(f.chance / f.factor) ** 2 for f in found])
    assert abs(float(ratios.mean()) - 1) < 4 * float(ratios.std()) / 300**0.5
