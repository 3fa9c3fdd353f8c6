"""What chance reads: closed forms against simulation and against hand-worked corners."""

import math

import pytest
import torch

from weightlens.delta import Dense
from weightlens.overlap.chance import both_chance, either_mean, side_chance, z_score
from weightlens.overlap.subspace import subspace_overlap
from weightlens.spectral.basis import random_subspace

M, N, K = 9, 7, 3
SIGMA = torch.tensor([3.0, 2.0, 1.0, 0.5])
P = SIGMA**2 / (SIGMA**2).sum()
S = float((P**2).sum())


@pytest.fixture(scope="module")
def drawn() -> torch.Tensor:
    """Overlaps (column, row, both) of one delta with 20,000 random subspaces."""
    generator = torch.Generator().manual_seed(7)
    delta = torch.zeros(M, N)
    delta[range(4), range(4)] = SIGMA
    rows = []
    for _ in range(20_000):
        found = subspace_overlap(Dense(delta), random_subspace(M, N, K, generator))
        rows.append((found.column, found.row, found.both))
    return torch.tensor(rows, dtype=torch.float64)


def test_mean_and_spread_of_every_side_are_those_of_the_simulation(drawn: torch.Tensor) -> None:
    expected = [
        side_chance(k=K, d=M, concentration=S),
        side_chance(k=K, d=N, concentration=S),
        both_chance(k=K, m=M, n=N, concentration=S),
    ]
    for i, chance in enumerate(expected):
        standard_error = chance.std / math.sqrt(len(drawn))
        assert float(drawn[:, i].mean()) == pytest.approx(chance.mean, abs=4 * standard_error)
        assert float(drawn[:, i].std()) == pytest.approx(chance.std, rel=0.03)


def test_either_is_the_mean_of_the_simulation(drawn: torch.Tensor) -> None:
    either = drawn[:, 0] + drawn[:, 1] - drawn[:, 2]
    standard_error = float(either.std()) / math.sqrt(len(either))
    expected = either_mean(k=K, m=M, n=N)
    assert float(either.mean()) == pytest.approx(expected, abs=4 * standard_error)


def test_one_direction_in_the_plane_is_a_coin() -> None:
    # k = 1, d = 2, rank one (S = 1): the overlap is cos² of a uniform angle, mean 1/2, var 1/8;
    # v = 2·1·1 / (4·4) = 1/8
    chance = side_chance(k=1, d=2, concentration=1.0)
    assert (chance.mean, chance.std) == pytest.approx((0.5, math.sqrt(1 / 8)))


def test_equal_singular_values_in_every_direction_leave_nothing_to_chance() -> None:
    # d equal values fill the side: S = 1/d and every subspace holds exactly k/d
    chance = side_chance(k=2, d=5, concentration=1 / 5)
    assert chance.std == pytest.approx(0, abs=1e-9)
    assert z_score(2 / 5, chance) is None


def test_the_whole_space_holds_everything_for_certain() -> None:
    chance = side_chance(k=6, d=6, concentration=0.5)
    assert (chance.mean, chance.std) == (1.0, 0.0)


def test_a_single_row_or_column_has_a_spread() -> None:
    chance = both_chance(k=1, m=1, n=4, concentration=1.0)
    assert chance.mean == pytest.approx(1 / 4)
    assert chance.std == pytest.approx(side_chance(k=1, d=4, concentration=1.0).std)
