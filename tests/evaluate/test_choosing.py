"""The next token: the likeliest, or one drawn by a number."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from weightlens.evaluate.backends.choosing import Uniforms, drawn, likeliest
from weightlens.evaluate.task import Sampling

SHARES = torch.tensor([[0.1, 0.4, 0.05, 0.3, 0.15]])
"""Sorted: 0.4 (1), 0.3 (3), 0.15 (4), 0.1 (0), 0.05 (2)."""


def at(uniform: float, *, temperature: float = 1.0, top_p: float = 1.0) -> int:
    sampling = Sampling(1, temperature, top_p)
    return int(drawn(SHARES.log(), torch.tensor([uniform]), sampling)[0])


def test_a_number_falls_on_the_token_whose_share_it_lies_in() -> None:
    """By id, cumulated: 0.1, 0.5, 0.55, 0.85, 1."""
    numbers = [0.0, 0.05, 0.12, 0.49, 0.52, 0.6, 0.84, 0.9, 0.999]
    assert [at(u) for u in numbers] == [0, 0, 1, 1, 2, 3, 3, 4, 4]


def test_the_nucleus_is_the_fewest_tokens_that_hold_top_p() -> None:
    """0.7 is reached by 1 and 3: 4/7 and 3/7. 0.71 takes 4 as well: 0.4, 0.3, 0.15 of 0.85."""
    assert [at(u, top_p=0.69) for u in (0.0, 0.57, 0.58, 0.99)] == [1, 1, 3, 3]
    assert [at(u, top_p=0.71) for u in (0.0, 0.47, 0.48, 0.82, 0.83)] == [1, 1, 3, 3, 4]
    assert at(0.99, top_p=0.001) == 1


def test_a_low_temperature_is_nearly_greedy_and_none_at_all_is_refused() -> None:
    assert [at(u, temperature=0.01) for u in (0.0, 0.5, 0.999)] == [1, 1, 1]
    assert likeliest(SHARES).tolist() == [1]
    with pytest.raises(ValueError, match="greedy"):
        at(0.5, temperature=0.0)


def test_tokens_of_no_probability_are_never_drawn() -> None:
    logits = torch.tensor([[-torch.inf, 0.0, -torch.inf, 0.0, -torch.inf]])
    for uniform in (0.0, 0.25, 0.5, 0.75, 1 - 2**-24):
        token = drawn(logits, torch.tensor([uniform]), Sampling(1, 1.0, 1.0))
        assert int(token[0]) in (1, 3)


def test_frequencies_are_the_probabilities() -> None:
    """10,000 numbers of one seed: each share within 4 standard errors."""
    count = 10_000
    numbers = torch.tensor([Uniforms(7)[i] for i in range(count)])
    rows = SHARES.log().expand(count, -1)
    found = drawn(rows, numbers, Sampling(1, 1.0, 1.0)).bincount(minlength=5) / count
    error = (SHARES[0] * (1 - SHARES[0]) / count).sqrt()
    assert ((found - SHARES[0]).abs() < 4 * error).all()


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**32), st.floats(0.05, 0.999), st.integers(3, 2000))
def test_a_nucleus_found_among_the_likeliest_is_that_of_the_whole_vocabulary(
    seed: int, top_p: float, vocabulary: int
) -> None:
    """Against a sort of everything, in float64 by NumPy."""
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(2, vocabulary, generator=generator)
    numbers = torch.rand(2, generator=generator, dtype=torch.float64)
    found = drawn(logits, numbers, Sampling(1, 1.0, top_p))
    for row in range(2):
        shares = torch.softmax(logits[row], -1).double().numpy()
        order = np.argsort(-shares, kind="stable")
        before = np.cumsum(shares[order]) - shares[order]
        kept = np.zeros(vocabulary)
        kept[order[before < top_p]] = shares[order[before < top_p]]
        below = np.cumsum(kept) / kept.sum()
        token = int(found[row])
        start = below[token] - kept[token] / kept.sum()
        assert start - 1e-6 <= numbers[row] <= below[token] + 1e-6


def test_numbers_depend_on_the_seed_alone() -> None:
    one, again, other = Uniforms(3), Uniforms(3), Uniforms(4)
    later = again[600]
    assert [one[i] for i in range(601)] == [again[i] for i in range(601)]
    assert one[600] == later and one[0] != other[0]
    assert all(0 <= one[i] < 1 for i in range(600))
