"""Power-law tails: hand-worked numbers, laws, SciPy's distances and known Pareto laws."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest, pareto

from weightlens.spectral.tail import PowerLawTail, power_law_tail

positive = st.lists(st.floats(1e-3, 1e3), min_size=2, max_size=40)


def fitted(values: list[float] | np.ndarray) -> PowerLawTail:
    found = power_law_tail(torch.as_tensor(values, dtype=torch.float64))
    assert found is not None
    return found


def test_tail_of_two_values_by_hand() -> None:
    # x = (1, e): x_min = 1 alone is a candidate; n = 2, Σ ln = 1, α = 1 + 2/1 = 3.
    # P(1) = 0, P(e) = 1 − e^−2. S steps at 1 from 0 to 1/2, at e from 1/2 to 1:
    # D = max(1/2 − 0, (1 − e^−2) − 1/2, e^−2) = 1/2
    found = fitted([1.0, math.e])
    assert found.alpha == pytest.approx(3.0)
    assert found.minimum == 1.0
    assert found.size == 2
    assert found.distance == pytest.approx(0.5)
    assert found.alpha_std == pytest.approx(2 / math.sqrt(2))


@settings(deadline=None, max_examples=60)
@given(positive)
def test_the_distance_is_scipys_and_no_other_minimum_has_a_smaller_one(
    values: list[float],
) -> None:
    data = np.array(values)
    distances = {}
    for minimum in sorted(set(values))[:-1]:
        tail = data[data >= minimum]
        logarithms = float(np.sum(np.log(tail / minimum)))
        if logarithms > 1e-9:
            slope = len(tail) / logarithms
            distances[minimum] = float(kstest(tail, pareto(slope, scale=minimum).cdf).statistic)
    if not distances:  # one value, or several whose logarithms differ by rounding alone
        return
    found = fitted(data)
    tail = data[data >= found.minimum]
    assert found.size == len(tail)
    assert found.distance == pytest.approx(min(distances.values()), abs=1e-6)


@pytest.mark.parametrize("alpha", [2.0, 3.5, 6.0])
def test_a_pareto_law_is_found_again(alpha: float) -> None:
    """SciPy draws 2000 values: the exponent lies within four of its standard errors."""
    data = pareto(alpha - 1, scale=0.7).rvs(2000, random_state=np.random.default_rng(11))
    found = fitted(data)
    assert abs(found.alpha - alpha) < 4 * found.alpha_std
    assert found.distance < 0.05


def test_the_tail_is_found_under_a_body_of_another_law() -> None:
    """Uniform below 5, a power law of exponent 2.5 above: x_min may lie within the tail."""
    rng = np.random.default_rng(7)
    body, tail = rng.uniform(0, 5, 1000), pareto(1.5, scale=5).rvs(1000, random_state=rng)
    found = fitted(np.concatenate([body, tail]))
    assert found.minimum > 4
    assert abs(found.alpha - 2.5) < 4 * found.alpha_std


@settings(deadline=None, max_examples=40)
@given(st.integers(3, 60), st.integers(0, 2**31), st.integers(-20, 20))
def test_scaling_and_order_change_nothing(count: int, seed: int, power: int) -> None:
    data = pareto(1.7).rvs(count, random_state=np.random.default_rng(seed))
    plain = fitted(data)
    scaled = fitted(data[::-1].copy() * 2.0**power)
    assert scaled.alpha == pytest.approx(plain.alpha, rel=1e-9)
    assert scaled.distance == pytest.approx(plain.distance, rel=1e-9)
    assert scaled.minimum == pytest.approx(plain.minimum * 2.0**power)
    assert scaled.size == plain.size


@settings(deadline=None, max_examples=40)
@given(positive)
def test_the_distance_is_at_least_half_a_step(values: list[float]) -> None:
    found = power_law_tail(torch.tensor(values, dtype=torch.float64))
    if found is not None:
        assert found.distance >= 0.5 / found.size - 1e-12
        assert found.alpha > 1


def test_zeros_are_left_out() -> None:
    assert fitted([0.0, -1e-20, 1.0, 2.0, 5.0]) == fitted([1.0, 2.0, 5.0])


@pytest.mark.parametrize("values", [[], [1.0], [2.0, 2.0, 2.0], [0.0, 0.0, 3.0]])
def test_fewer_than_two_distinct_values_have_no_tail(values: list[float]) -> None:
    assert power_law_tail(torch.tensor(values)) is None
