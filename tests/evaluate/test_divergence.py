"""Surprise and divergence of logits: by hand, by their laws, and where tokens are ruled out."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from weightlens.evaluate.drift import kl_divergence, token_nll

rows_of_logits = st.lists(
    st.lists(st.floats(-60, 60, width=32), min_size=5, max_size=5), min_size=2, max_size=2
)


@settings(deadline=None, max_examples=80)
@given(rows_of_logits, st.floats(-30, 30, width=32))
def test_kl_is_never_negative_and_forgets_a_constant(rows: list[list[float]], shift: float) -> None:
    p, q = torch.tensor(rows[:1]), torch.tensor(rows[1:])
    found = kl_divergence(p, q)
    assert float(found) >= 0
    assert float(kl_divergence(p, p)) == 0.0
    shifted = kl_divergence(p.double() + shift, q.double())
    assert float(shifted) == pytest.approx(float(found), rel=1e-9, abs=1e-12)


@settings(deadline=None, max_examples=40)
@given(rows_of_logits)
def test_kl_is_the_expected_increase_of_the_nll(rows: list[list[float]]) -> None:
    """Over all the tokens that the base could say, as likely as it says them."""
    p, q = torch.tensor(rows[:1]).expand(5, 5), torch.tensor(rows[1:]).expand(5, 5)
    increase = token_nll(q, torch.arange(5)) - token_nll(p, torch.arange(5))
    expected = float((torch.softmax(p[0].double(), 0) * increase).sum())
    assert float(kl_divergence(p, q)[0]) == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_kl_of_a_worked_example() -> None:
    # p = (1/2, 1/2), q = (3/4, 1/4): KL = 1/2 ln(2/3) + 1/2 ln 2 = 1/2 ln(4/3)
    p, q = torch.tensor([[0.0, 0.0]]), torch.tensor([[math.log(3), 0.0]])
    assert float(kl_divergence(p, q)) == pytest.approx(0.5 * math.log(4 / 3))
    assert float(token_nll(q, torch.tensor([1]))) == pytest.approx(math.log(4))


def test_a_step_too_small_for_float32_still_has_its_kl() -> None:
    # to second order KL = 1/2 variance under p of the change: logits 0 +- e: e²/2
    e = 1e-7
    p, q = torch.zeros(1, 2, dtype=torch.float64), torch.tensor([[e, -e]], dtype=torch.float64)
    assert float(kl_divergence(p, q)) == pytest.approx(e**2 / 2, rel=1e-2)


def test_tokens_that_are_ruled_out() -> None:
    out = -math.inf
    p = torch.tensor([[0.0, 0.0, out]])
    assert float(kl_divergence(p, torch.tensor([[0.0, 0.0, out]]))) == 0.0
    half = kl_divergence(p, torch.tensor([[0.0, 0.0, math.log(2)]]))
    assert float(half) == pytest.approx(math.log(2))
    assert float(kl_divergence(p, torch.tensor([[0.0, out, 0.0]]))) == math.inf
    assert float(token_nll(p, torch.tensor([2]))) == math.inf
