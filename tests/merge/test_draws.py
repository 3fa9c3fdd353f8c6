import math

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from weightlens.merge.draws import below, first_bits, last_bits, limits
from weightlens.merge.streaming import Key

KEY = Key(3, "model.layers.0.mlp.down_proj.weight")
N = 1_000_000

ALL = first_bits(KEY, 0, 0, N)
SHARES = ALL / 2.0**16
LAST = np.array([last_bits(KEY, 0, position) for position in range(5_000)], np.uint16)


# As numpy 2.4's Philox draws them. A change would make earlier merges impossible to repeat.
def test_the_first_draws_of_a_key_are_these() -> None:
    assert first_bits(KEY, 0, 0, 6).tolist() == [599, 16226, 37373, 22410, 29796, 35550]
    assert first_bits(Key(), 1, 10**12 + 3, 3).tolist() == [15459, 61832, 17655]
    assert [last_bits(KEY, 0, position) for position in (0, 1, 10**12)] == [6686, 38676, 15404]


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 5000), st.integers(0, 5000))
def test_a_block_holds_the_draws_of_its_positions(start: int, count: int) -> None:
    assert np.array_equal(first_bits(KEY, 0, start, count), ALL[start : start + count])


# Uniform on [0, 1): the mean of N draws has the sd 1/√(12 N).
def test_the_mean_is_a_half() -> None:
    assert abs(SHARES.mean() - 0.5) < 5 / math.sqrt(12 * N)


# The squared distance from 1/2 has the mean 1/12 and the variance 1/80 − 1/144 = 1/180.
def test_the_variance_is_a_twelfth() -> None:
    assert abs(((SHARES - 0.5) ** 2).mean() - 1 / 12) < 5 / math.sqrt(180 * N)


# A correlation of N independent pairs has the sd 1/√N. Lags 1 to 8 stay within a count of the
# generator or reach the next; 512 and 4096 are neighbours in a column.
@pytest.mark.parametrize("lag", [1, 2, 3, 4, 7, 8, 9, 512, 4096])
def test_neighbours_are_not_correlated(lag: int) -> None:
    found = np.corrcoef(SHARES[:-lag], SHARES[lag:])[0, 1]
    assert abs(found) < 5 / math.sqrt(N - lag)


# A count in one of 256 cells of equal probability has the variance N p (1 − p); χ² over 256 cells
# has the mean 255 and the sd √(2 · 255).
@pytest.mark.parametrize("bits", [ALL, LAST], ids=["first", "last"])
@pytest.mark.parametrize("shift", [8, 0])
def test_every_byte_is_evenly_spread(bits: npt.NDArray[np.uint16], shift: int) -> None:
    counts = np.bincount((bits >> np.uint16(shift)) & np.uint16(255), minlength=256)
    expected = len(bits) / 256
    chi2 = float(((counts - expected) ** 2 / expected).sum())
    assert abs(chi2 - 255) < 5 * math.sqrt(510)


@pytest.mark.parametrize(
    ("key", "source"),
    [(KEY, 1), (Key(4, KEY.tensor), 0), (Key(3, "lm_head.weight"), 0), (Key(30, ""), 0)],
    ids=["source", "seed", "tensor", "key"],
)
def test_other_seeds_tensors_and_sources_draw_independently(key: Key, source: int) -> None:
    other = first_bits(key, source, 0, N) / 2.0**16
    assert abs(np.corrcoef(SHARES, other)[0, 1]) < 5 / math.sqrt(N)


def test_seed_source_and_tensor_are_not_run_together() -> None:
    keys = [(Key(1, "2"), 3), (Key(1, "3"), 2), (Key(12, ""), 3), (Key(1, ""), 23), (Key(13), 2)]
    assert len({tuple(first_bits(key, source, 0, 8).tolist()) for key, source in keys}) == len(keys)


# A draw below p · 2³², rounded down, has the probability p to within 2⁻³².
@settings(deadline=None, max_examples=60)
@given(st.floats(0, 1, exclude_max=True))
def test_limits_are_probabilities(probability: float) -> None:
    assert 0 <= probability * 2**32 - int(limits(probability)) < 1
    assert int(limits(np.array([0.0, probability]))[1]) == int(limits(probability))


def test_draws_below_a_limit_are_as_many_as_the_probability_says() -> None:
    for probability in (0.001, 0.2, 0.5, 0.95):
        count = int(below(KEY, 0, 0, N, limits(probability)).sum())
        bound = 5 * math.sqrt(N * probability * (1 - probability))
        assert abs(count - N * probability) < bound, probability


# Limits that agree with the first 16 bits of every draw: the last 16 decide.
def test_draws_that_begin_like_their_limit_are_told_apart_by_their_last_bits() -> None:
    first = ALL[: len(LAST)].astype(np.uint32) << np.uint32(16)
    assert not below(KEY, 0, 0, len(LAST), first).any()
    for last in (1, 0x8000, 0xFFFF):
        found = below(KEY, 0, 0, len(LAST), first | np.uint32(last))
        assert np.array_equal(found, LAST < last)
    assert abs(np.corrcoef(LAST, ALL[: len(LAST)])[0, 1]) < 5 / math.sqrt(len(LAST))


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 100), st.integers(0, 100))
def test_a_block_decides_like_the_whole(start: int, count: int) -> None:
    limits = (ALL[:200].astype(np.uint32) << np.uint32(16)) | np.uint32(0x8000)
    whole = below(KEY, 0, 0, 200, limits)[start : start + count]
    block = below(KEY, 0, start, count, limits[start : start + count])
    assert np.array_equal(block, whole)


def test_torch_and_numpy_generators_play_no_part() -> None:
    torch.manual_seed(1)
    np.random.seed(1)
    assert np.array_equal(first_bits(KEY, 0, 0, 100), ALL[:100])
