import math

import numpy as np
import pytest
import torch
from fine_tunes import family, vector
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from torch import Tensor

from weightlens.merge.method import merged
from weightlens.merge.methods.dare import DareLinear, DareTies
from weightlens.merge.methods.della import Della, DellaLinear, ascending
from weightlens.merge.streaming import Key

KEY = Key(5, "model.layers.3.self_attn.q_proj.weight")


def kept(delta: Tensor, density: float, epsilon: float) -> Tensor:
    """Which entries of a delta without zeros stay."""
    method = DellaLinear(weight=(1.0,), density=(density,), epsilon=(epsilon,))
    return merged(method, [delta], torch.zeros_like(delta), key=KEY) != 0


# Sizes 3, 1, 2 of a row have the ranks 3, 1, 2 of 3: with density 1/2 and ε 0.3 they stay with
# probability 0.2 + 0.6 (r − 1)/2 = 0.8, 0.2, 0.5, in 20,000 rows each with sd √(20,000 p (1 − p)).
def test_a_row_of_three_stays_by_its_ranks() -> None:
    rows = 20_000
    counts = kept(vector(3, -1, 2).repeat(rows, 1), 0.5, 0.3).sum(0).tolist()
    for count, probability in zip(counts, (0.8, 0.2, 0.5), strict=True):
        assert abs(count - rows * probability) < 5 * math.sqrt(
            rows * probability * (1 - probability)
        )


# By tenths of the ranks of 1,000: the mean of density − ε + 2ε (r − 1)/999 over r = 100 i + 1 …
# 100 i + 100 is density − ε + 2ε (100 i + 49.5)/999; each tenth has 100 · 200 entries, and the sd
# of a sum of such draws is at most that of draws of the mean probability.
def test_by_tenths_of_the_ranks_as_many_stay_as_the_formula_says() -> None:
    density, epsilon, rows = 0.4, 0.3, 200
    delta = family((rows, 1000), 1).deltas[0]
    stays = kept(delta, density, epsilon).numpy()
    order = np.argsort(delta.abs().numpy(), axis=1, kind="stable")
    counts = np.take_along_axis(stays, order, axis=1).sum(0).reshape(10, 100).sum(1)
    for i, count in enumerate(counts):
        p = density - epsilon + 2 * epsilon * (100 * i + 49.5) / 999
        n = 100 * rows
        assert abs(count - n * p) < 5 * math.sqrt(n * p * (1 - p)), i
    assert list(counts) == sorted(counts)


def test_density_is_kept_over_a_row_of_any_shape() -> None:
    for shape in ((60_000,), (600, 100), (20, 30, 100)):
        stays = int(kept(family(shape, 1).deltas[0], 0.3, 0.2).sum())
        assert abs(stays - 18_000) < 5 * math.sqrt(60_000 * 0.3 * 0.7), shape


# one entry a row is both the smallest and the largest: density is the middle of its range
def test_an_entry_alone_in_its_row_stays_with_the_density() -> None:
    n = 20_000
    assert abs(int(kept(torch.ones(n, 1), 0.3, 0.2).sum()) - 0.3 * n) < 5 * math.sqrt(n * 0.21)


def test_without_epsilon_it_is_dare() -> None:
    of = family((40, 50), 2)
    given = {"weight": (0.5, 1.5), "density": (0.3, 0.8)}
    flat = {**given, "epsilon": (0.0, 0.0)}
    linear = merged(DareLinear(**given), of.tuned, of.base, key=KEY)
    assert torch.equal(merged(DellaLinear(**flat), of.tuned, of.base, key=KEY), linear)
    ties = merged(DareTies(**given, normalize=True), of.tuned, of.base, key=KEY)
    assert torch.equal(merged(Della(**flat), of.tuned, of.base, key=KEY), ties)


# all stay: (3, −1) and (−2, −4) as in DARE; normalize is on by default in the one that elects
def test_density_one_keeps_all_whatever_epsilon_and_della_elects_signs() -> None:
    sources, zero = [vector(3, -1), vector(-1, -2)], vector(0, 0)
    whole = {"weight": (1.0, 2.0), "density": (1.0, 1.0), "epsilon": (0.3, 0.3)}
    assert merged(DellaLinear(**whole), sources, zero).tolist() == [1, -5]
    assert torch.allclose(merged(Della(**whole), sources, zero), vector(3, -5 / 3))


def test_density_zero_keeps_nothing() -> None:
    assert not bool(kept(torch.ones(50), 0.0, 0.3).any())


def test_rescale_gives_each_delta_its_norm_back() -> None:
    delta = family((300, 100), 1).deltas[0]
    method = DellaLinear(weight=(1.0,), density=(0.3,), epsilon=(0.1,))
    result = merged(method, [delta], torch.zeros_like(delta), key=KEY)
    norm = float(delta.double().abs().sum())
    assert float(result.double().abs().sum()) == pytest.approx(norm, rel=1e-6)


@pytest.mark.parametrize(("density", "epsilon"), [(0.1, 0.1), (0.1, 0.15), (0.9, 0.1), (0.5, 0.6)])
def test_an_epsilon_that_leaves_zero_to_one_is_refused(density: float, epsilon: float) -> None:
    with pytest.raises(ValueError, match="out of 0 to 1"):
        Della(weight=(1.0,), density=(density,), epsilon=(epsilon,))


# Sizes that differ only in their last bits count as equal, so numbers here have few bits.
@settings(deadline=None, max_examples=40)
@given(arrays.arrays(np.int8, (3, 7), elements=st.integers(-4, 4)))
def test_columns_come_by_size_and_of_equal_sizes_the_leftmost_first(sizes: np.ndarray) -> None:
    rows = sizes.astype(np.float32)
    expected = np.argsort(np.abs(rows), axis=1, kind="stable")
    assert np.array_equal(ascending(torch.from_numpy(rows)).numpy(), expected)


# Sizes are compared by 8 bits of exponent and 10 of mantissa: where neighbours in the order found
# are out of order, they differ by less than 2⁻¹⁰ of themselves.
@pytest.mark.parametrize("width", [2, 1000, 1 << 14, (1 << 14) + 1])
def test_sizes_a_thousandth_apart_are_told_apart(width: int) -> None:
    rows = family((2, width), 1).deltas[0]
    sizes = rows.abs().gather(1, ascending(rows))
    assert bool((sizes[:, :-1] <= sizes[:, 1:] * (1 + 2**-10)).all())
    expected = rows.abs().sort(dim=1).values
    assert torch.allclose(sizes, expected, rtol=2**-10, atol=0)


# 16 bits hold 64 powers of two, below the largest of each row for itself; what is smaller yet, here
# the last column of the first row, counts as equal to 0.
def test_sizes_are_told_apart_over_64_powers_of_two_of_the_rows_largest() -> None:
    powers = torch.arange(10.0, -55.0, -1.0).exp2()
    rows = torch.stack([powers, powers * 2**-40, torch.zeros(65)])
    ascent = torch.arange(64, -1, -1)
    assert torch.equal(ascending(rows)[:2], ascent.expand(2, -1))
    assert torch.equal(ascending(rows)[2], torch.arange(65))
    rows[:, 0] *= 2**9
    ties = torch.tensor([*range(55, 65), *range(54, -1, -1)])
    assert torch.equal(ascending(rows)[:2], ties.expand(2, -1))


def test_rows_without_entries_have_no_columns() -> None:
    assert ascending(torch.empty(3, 0)).shape == (3, 0)
    assert ascending(torch.empty(0, 3)).shape == (0, 3)
