import pytest
import torch
from fine_tunes import dyadic, several, vector
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from weightlens.merge.method import merged
from weightlens.merge.methods.breadcrumbs import Breadcrumbs, BreadcrumbsTies

TEN = vector(1, -2, 3, -4, 5, -6, 7, -8, 9, -10)
ZERO = torch.zeros(10)


def crumbs(delta: Tensor, density: float, gamma: float) -> list[float]:
    method = Breadcrumbs(weight=(1.0,), density=(density,), gamma=(gamma,))
    return merged(method, [delta], torch.zeros_like(delta)).tolist()


# γ n = 2: 10 and 9 go; density n = 5 of the rest stay: 8, 7, 6, 5, 4
def test_the_largest_go_and_of_the_rest_the_largest_stay() -> None:
    assert crumbs(TEN, 0.5, 0.2) == [0, 0, 0, -4, 5, -6, 7, -8, 0, 0]


# 9 are to stay, so that only 1 of the 3 largest can go
def test_density_comes_before_gamma() -> None:
    assert crumbs(TEN, 0.9, 0.3) == [1, -2, 3, -4, 5, -6, 7, -8, 9, 0]


# ⌊0.19 · 10⌋ = 1 goes, ⌊0.39 · 10⌋ = 3 stay
def test_shares_of_entries_are_rounded_down() -> None:
    assert crumbs(TEN, 0.39, 0.19) == [0, 0, 0, 0, 0, 0, 7, -8, 9, 0]


def test_density_one_keeps_even_the_largest_and_density_zero_nothing() -> None:
    assert crumbs(TEN, 1.0, 0.5) == TEN.tolist()
    assert crumbs(TEN, 0.0, 0.5) == ZERO.tolist()


# n = 4, γ n = 1, density n = 2: of four equal sizes the first goes, the next two stay
def test_of_equal_sizes_the_first_count_as_larger() -> None:
    assert crumbs(vector(1, -1, 1, -1), 0.5, 0.25) == [0, -1, 1, 0]


# without gamma, density 1/2: (0, 3, −4, 0) and (0, −2, 0, 8); weights 1 and 2 add up to
# (0, −1, −4, 16); where signs are elected, the second row alone changes: only −4 agrees there
def test_the_ties_form_elects_signs() -> None:
    sources, zero = [vector(1, 3, -4, 2), vector(1, -2, 1, 8)], torch.zeros(4)
    given: dict[str, tuple[float, ...]] = {
        "weight": (1.0, 2.0), "density": (0.5, 0.5), "gamma": (0.0, 0.0)
    }  # fmt: skip
    assert merged(Breadcrumbs(**given), sources, zero).tolist() == [0, -1, -4, 16]
    assert merged(BreadcrumbsTies(**given), sources, zero).tolist() == [0, -4, -4, 16]


@settings(deadline=None, max_examples=40)
@given(dyadic(11), st.floats(0, 1), st.floats(0, 1))
def test_exactly_as_many_stay_as_the_density_says(
    delta: Tensor, density: float, gamma: float
) -> None:
    delta = torch.where(delta == 0, 5.0, delta)
    kept = 11 if density >= 1 else int(density * 11)
    assert sum(entry != 0 for entry in crumbs(delta, density, gamma)) == kept


@settings(deadline=None, max_examples=40)
@given(dyadic(11), st.floats(0, 1), st.floats(0, 1))
def test_what_stays_is_a_run_of_the_sizes_in_order(
    delta: Tensor, density: float, gamma: float
) -> None:
    kept = torch.tensor(crumbs(delta, density, gamma))
    order = torch.sort(delta.abs(), descending=True, stable=True).indices
    places = torch.nonzero(kept[order] != 0).flatten()
    zeros = (delta[order] == 0).nonzero().flatten()
    run = set(range(int(places[0]), int(places[-1]) + 1)) if len(places) else set()
    assert run - set(zeros.tolist()) == set(places.tolist())


@settings(deadline=None, max_examples=30)
@given(several(2, 8), st.booleans())
def test_the_order_of_the_sources_does_not_matter(sources: list[Tensor], elects: bool) -> None:
    kind = BreadcrumbsTies if elects else Breadcrumbs
    zero = torch.zeros(8)
    first = merged(kind(weight=(0.5, 2.0), density=(0.5, 0.9), gamma=(0.2, 0.1)), sources, zero)
    other = merged(
        kind(weight=(2.0, 0.5), density=(0.9, 0.5), gamma=(0.1, 0.2)), sources[::-1], zero
    )
    assert torch.equal(first, other)


def test_weights_that_sum_to_zero_are_not_divided_by() -> None:
    method = Breadcrumbs(weight=(1.0, -1.0), density=(1.0, 1.0), gamma=(0.0, 0.0), normalize=True)
    assert merged(method, [vector(3), vector(1)], vector(0)).tolist() == [2.0]


def test_a_gamma_that_is_no_share_is_refused() -> None:
    with pytest.raises(ValueError, match="gamma"):
        Breadcrumbs(weight=(1.0,), density=(0.5,), gamma=(1.5,))
