"""Subspace similarity: hand-worked numbers, laws, and SciPy's principal angles."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import subspace_angles

from weightlens.overlap.similarity import subspace_similarity
from weightlens.spectral.basis import random_subspace

cases = st.tuples(st.integers(2, 12), st.integers(1, 12), st.integers(1, 12), st.integers(0, 2**31))


def drawn(m: int, p: int, q: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    sides = (torch.randn(m, min(c, m), generator=generator, dtype=torch.float64) for c in (p, q))
    first, second = (torch.linalg.qr(side).Q for side in sides)
    return first, second


def test_similarity_of_a_hand_worked_pair() -> None:
    # A = (e1, e2), B = (cos 30° e1 + sin 30° e3, e2): squared cosines [[3/4, 0], [0, 1]].
    # φ(1,1) = 3/4; φ(1,2) = φ(2,1) = 3/4 / 1; φ(2,2) = (3/4 + 1) / 2 = 7/8
    first = torch.eye(3)[:, :2]
    second = torch.tensor([[math.sqrt(0.75), 0.0], [0.0, 1.0], [0.5, 0.0]])
    found = subspace_similarity(first, second)
    assert found.flatten().tolist() == pytest.approx([0.75, 0.75, 0.75, 0.875])


@settings(deadline=None, max_examples=40)
@given(cases)
def test_each_entry_is_the_mean_squared_cosine_of_scipys_angles(
    case: tuple[int, int, int, int],
) -> None:
    first, second = drawn(*case)
    found = subspace_similarity(first, second)
    assert found.shape == (first.shape[1], second.shape[1])
    for i in range(1, first.shape[1] + 1):
        for j in range(1, second.shape[1] + 1):
            angles = subspace_angles(first[:, :i].numpy(), second[:, :j].numpy())
            expected = np.mean(np.cos(angles) ** 2)
            assert float(found[i - 1, j - 1]) == pytest.approx(expected, abs=1e-10)


@settings(deadline=None, max_examples=40)
@given(cases)
def test_the_other_way_round_is_the_transpose(case: tuple[int, int, int, int]) -> None:
    first, second = drawn(*case)
    there, back = subspace_similarity(first, second), subspace_similarity(second, first)
    assert torch.allclose(there, back.T)
    assert float(there.min()) >= 0 and float(there.max()) <= 1


@settings(deadline=None, max_examples=40)
@given(cases)
def test_turning_both_changes_nothing(case: tuple[int, int, int, int]) -> None:
    m, *_, seed = case
    first, second = drawn(*case)
    generator = torch.Generator().manual_seed(seed + 1)
    turn, _ = torch.linalg.qr(torch.randn(m, m, generator=generator, dtype=torch.float64))
    turned = subspace_similarity(turn @ first, turn @ second)
    assert torch.allclose(subspace_similarity(first, second), turned)


def test_a_subspace_within_another_reads_one() -> None:
    found = subspace_similarity(torch.eye(4)[:, :3], torch.eye(4)[:, :3])
    assert torch.equal(found, torch.ones(3, 3, dtype=torch.float64))


def test_orthogonal_subspaces_read_zero() -> None:
    found = subspace_similarity(torch.eye(4)[:, :2], torch.eye(4)[:, 2:])
    assert not found.any()


def test_random_subspaces_read_the_larger_rank_over_the_dimension(
    generator: torch.Generator,
) -> None:
    # E ‖A_iᵀ B_j‖² = i j / m, so E φ(i, j) = max(i, j) / m
    draws, m = 1500, 6
    total = torch.zeros(2, 3, dtype=torch.float64)
    for _ in range(draws):
        first, second = (random_subspace(m, 1 + k, k, generator).u for k in (2, 3))
        total += subspace_similarity(first, second) / draws
    expected = torch.tensor([[1, 2, 3], [2, 2, 3]], dtype=torch.float64) / m
    assert torch.allclose(total, expected, atol=0.03)
