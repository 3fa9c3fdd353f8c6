import math

import pytest
import torch
from fine_tunes import dyadic, family, several, vector
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from weightlens.merge.method import merged
from weightlens.merge.methods.dare import DareLinear, DareTies
from weightlens.merge.streaming import Key

N = 100_000
KEY = Key(5, "model.embed_tokens.weight")


def dare(delta: Tensor, density: float, *, key: Key = KEY, rescale: bool = True) -> Tensor:
    """The delta of a merge with weight 1."""
    method = DareLinear(weight=(1.0,), density=(density,), rescale=rescale)
    return merged(method, [delta], torch.zeros_like(delta), key=key)


# The number that stays is binomial: sd √(n d (1 − d)).
@pytest.mark.parametrize("density", [0.01, 0.1, 0.5, 0.9])
def test_as_many_stay_as_the_density_says(density: float) -> None:
    kept = int((dare(torch.ones(N), density) != 0).sum())
    assert abs(kept - N * density) < 5 * math.sqrt(N * density * (1 - density))


# n entries of size 1, m of which stay: the norm n comes back with the factor n/m
def test_what_stays_is_scaled_up_to_the_norm_that_was() -> None:
    result = dare(torch.ones(N), 0.3)
    kept = result[result != 0]
    assert torch.equal(kept, torch.full_like(kept, N / len(kept)))
    delta = family((300, 100), 1).deltas[0]
    norm = float(delta.double().abs().sum())
    assert float(dare(delta, 0.3).double().abs().sum()) == pytest.approx(norm, rel=1e-6)


def test_without_rescale_entries_stay_as_they_were() -> None:
    delta = family((30, 100), 1).deltas[0]
    result = dare(delta, 0.4, rescale=False)
    assert torch.equal(result, torch.where(result != 0, delta, 0.0))


def test_density_one_keeps_all_and_density_zero_nothing() -> None:
    delta = vector(1, -2, 0.5)
    assert torch.equal(dare(delta, 1.0), delta)
    assert dare(delta, 0.0).tolist() == [0, 0, 0]


# Independent sources with densities a and b both keep an entry with probability ab.
def test_sources_are_dropped_independently() -> None:
    ones = torch.ones(N)
    method = DareLinear(weight=(1.0, 2.0), density=(0.3, 0.6), rescale=False)
    result = merged(method, [ones, ones], torch.zeros(N), key=KEY)
    for value, probability in ((0, 0.7 * 0.4), (1, 0.3 * 0.4), (2, 0.7 * 0.6), (3, 0.3 * 0.6)):
        count = int((result == value).sum())
        bound = 5 * math.sqrt(N * probability * (1 - probability))
        assert abs(count - N * probability) < bound, value


def test_seed_and_tensor_decide_what_stays_and_values_do_not() -> None:
    ones = torch.ones(N)
    first = dare(ones, 0.5) != 0
    assert torch.equal(dare(family((N,), 1).deltas[0], 0.5) != 0, first)
    for other in (Key(6, KEY.tensor), Key(5, "lm_head.weight")):
        agree = int(((dare(ones, 0.5, key=other) != 0) == first).sum())
        assert abs(agree - N / 2) < 5 * math.sqrt(N / 4), other


# all stay: the weighted deltas (3, −1) and (−2, −4) add up to (1, −5), whose signs elect 3 and −5;
# divided by the weights that agree, 1 and 1 + 2: 3 and −5/3
def test_the_ties_form_elects_signs_among_what_stays() -> None:
    sources, zero = [vector(3, -1), vector(-1, -2)], vector(0, 0)
    whole = {"weight": (1.0, 2.0), "density": (1.0, 1.0)}
    assert merged(DareLinear(**whole), sources, zero).tolist() == [1, -5]
    assert merged(DareTies(**whole), sources, zero).tolist() == [3, -5]
    divided = merged(DareTies(**whole, normalize=True), sources, zero)
    assert torch.allclose(divided, vector(3, -5 / 3))


@settings(deadline=None, max_examples=30)
@given(several(2, 7), st.booleans(), st.integers(0, 2**31))
def test_turning_a_delta_round_turns_the_merge_round(
    deltas: list[Tensor], elects: bool, seed: int
) -> None:
    # a sum of 0 counts as positive either way: without one, signs are symmetric
    deltas = [torch.where(d == 0, 1.0, d) * (1 + i / 64) for i, d in enumerate(deltas)]
    method = (DareTies if elects else DareLinear)(weight=(1.0, 1.5), density=(0.5, 0.7))
    zero, key = torch.zeros(7), Key(seed, "")
    there = merged(method, deltas, zero, key=key)
    back = merged(method, [-d for d in deltas], zero, key=key)
    assert torch.equal(back, -there)


@settings(deadline=None, max_examples=30)
@given(dyadic(9), dyadic(9), st.integers(0, 2**31))
def test_an_entry_stays_at_the_base_or_moves_by_its_delta(
    base: Tensor, source: Tensor, seed: int
) -> None:
    method = DareLinear(weight=(1.0,), density=(0.5,), rescale=False)
    result = merged(method, [source], base, key=Key(seed, ""))
    assert bool(((result == base) | (result == source)).all())
