"""Strip: hand-worked numbers, and its laws on dense and factored deltas alike."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from weightlens.delta import Delta, Dense, Factored, measurable
from weightlens.merge.transforms.strip import Strip, chance_of, recompressed, strip
from weightlens.overlap.subspace import subspace_overlap
from weightlens.spectral.basis import Subspace, factorise
from weightlens.spectral.rank import SubspaceSize

SIDES = ("column", "row", "both", "either")
KINDS = ("dense", "factored")
sides, kinds = st.sampled_from(SIDES), st.sampled_from(KINDS)
seeds = st.integers(0, 2**31)


def case(kind: str, seed: int, *, m: int = 14, n: int = 20) -> tuple[Delta, Subspace]:
    """A delta that overlaps its base's subspaces more than chance, and those subspaces."""
    generator = torch.Generator().manual_seed(seed)
    base = torch.randn(m, n, generator=generator)
    subspace = factorise(base).subspace(SubspaceSize("rank", 4))
    b, a = torch.randn(m, 3, generator=generator), torch.randn(3, n, generator=generator)
    b = b + 2 * subspace.u[:, :3]
    a = a + 2 * subspace.v[:, :3].T
    factored = Factored(b, a, 0.5)
    return (factored if kind == "factored" else Dense(factored.dense())), subspace


def overlap_of(delta: Delta, subspace: Subspace, side: str) -> float:
    return subspace_overlap(measurable(delta), subspace).side(side)


def test_a_hand_worked_strip() -> None:
    # W = diag(2, 1), U_1 = e_1; Δ = [[3, 4], [0, 12]]: in = first row (25), out = second (144).
    # strength 0.5 halves the first row; target 0.1: c² = 1/9 · 144/25 = 0.64, c = 0.8
    subspace = factorise(torch.diag(torch.tensor([2.0, 1.0]))).subspace(SubspaceSize("rank", 1))
    delta = Dense(torch.tensor([[3.0, 4.0], [0.0, 12.0]]))
    halved = strip(delta, subspace, Strip(side="column", strength=0.5))
    assert torch.allclose(halved.delta.dense(), torch.tensor([[1.5, 2.0], [0.0, 12.0]]))
    lowered = strip(delta, subspace, Strip(side="column", target=0.1))
    assert lowered.factor == pytest.approx(0.8)
    assert torch.allclose(lowered.delta.dense(), torch.tensor([[2.4, 3.2], [0.0, 12.0]]))
    assert overlap_of(lowered.delta, subspace, "column") == pytest.approx(0.1)


@settings(deadline=None, max_examples=40)
@given(kinds, sides, seeds)
def test_target_0_leaves_no_overlap(kind: str, side: str, seed: int) -> None:
    delta, subspace = case(kind, seed)
    done = strip(delta, subspace, Strip(side=side, target=0.0))
    assert overlap_of(done.delta, subspace, side) < 1e-5
    assert type(done.delta) is type(delta)


@settings(deadline=None, max_examples=60)
@given(kinds, sides, seeds)
def test_target_chance_lands_on_chance_or_leaves_the_delta_as_it_is(
    kind: str, side: str, seed: int
) -> None:
    delta, subspace = case(kind, seed)
    before = overlap_of(delta, subspace, side)
    chance = chance_of(side, subspace.rank, delta.shape)
    done = strip(delta, subspace, Strip(side=side, target="chance"))
    if before > chance:
        assert overlap_of(done.delta, subspace, side) == pytest.approx(chance, abs=1e-4)
    else:
        assert done.untouched
        assert done.delta is delta


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("side", SIDES)
def test_a_delta_below_chance_stays_bit_identical(kind: str, side: str) -> None:
    delta, subspace = case(kind, 3)
    outside = strip(delta, subspace, Strip(side="either", target=0.0)).delta
    done = strip(outside, subspace, Strip(side=side, target="chance"))
    assert done.delta is outside
    assert (done.untouched, done.factor) == (True, 1.0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("side", SIDES)
def test_strength_0_is_the_very_delta(kind: str, side: str) -> None:
    delta, subspace = case(kind, 5)
    assert strip(delta, subspace, Strip(side=side, strength=0.0)).delta is delta


@settings(deadline=None, max_examples=40)
@given(sides, seeds, st.floats(0.05, 1.0))
def test_factored_and_dense_strips_are_one(side: str, seed: int, strength: float) -> None:
    factored, subspace = case("factored", seed)
    parameters = Strip(side=side, strength=strength)
    ours = strip(factored, subspace, parameters).delta.dense()
    theirs = strip(Dense(factored.dense()), subspace, parameters).delta.dense()
    assert torch.allclose(ours, theirs, atol=1e-4 * float(theirs.abs().max()))


@settings(deadline=None, max_examples=30)
@given(kinds, sides, seeds)
def test_stripping_twice_is_stripping_once(kind: str, side: str, seed: int) -> None:
    delta, subspace = case(kind, seed)
    parameters = Strip(side=side, strength=1.0)
    once = strip(delta, subspace, parameters).delta
    twice = strip(once, subspace, parameters).delta
    assert torch.allclose(once.dense(), twice.dense(), atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("side", SIDES)
def test_preserve_norm_keeps_the_norm(kind: str, side: str) -> None:
    delta, subspace = case(kind, 8)
    done = strip(delta, subspace, Strip(side=side, target=0.0, preserve_norm=True))
    assert float(done.delta.dense().norm()) == pytest.approx(float(delta.dense().norm()), rel=1e-5)
    assert overlap_of(done.delta, subspace, side) < 1e-5


@pytest.mark.parametrize("side", SIDES)
def test_a_delta_wholly_inside_leaves_nothing_at_target_0(side: str) -> None:
    _, subspace = case("dense", 9)
    inside = Dense(subspace.u @ subspace.v.T)
    done = strip(inside, subspace, Strip(side=side, target=0.0))
    assert done.delta.is_zero()
    assert not done.untouched


@pytest.mark.parametrize("side", SIDES)
def test_a_delta_wholly_inside_cannot_reach_a_target_above_0(side: str) -> None:
    _, subspace = case("dense", 9)
    with pytest.raises(ValueError, match="out of reach"):
        strip(Dense(subspace.u @ subspace.v.T), subspace, Strip(side=side, target=0.2))


def test_either_grows_the_rank_of_factors_to_at_most_twice() -> None:
    delta, subspace = case("factored", 11)
    assert isinstance(delta, Factored)
    done = strip(delta, subspace, Strip(side="either", strength=0.7))
    assert isinstance(done.delta, Factored)
    assert done.delta.rank <= 2 * delta.rank


def test_recompressing_drops_columns_that_say_the_same(generator: torch.Generator) -> None:
    b, a = torch.randn(9, 2, generator=generator), torch.randn(2, 7, generator=generator)
    twice = Factored(torch.cat([b, b], 1), torch.cat([a, a], 0), 3.0)
    small = recompressed(twice)
    assert small.rank == 2
    assert torch.allclose(small.dense(), twice.dense(), atol=1e-5)


@pytest.mark.parametrize(
    ("given_", "complaint"),
    [
        ({}, "exactly one of strength and target"),
        ({"strength": 0.5, "target": 0.1}, "exactly one of strength and target"),
        ({"strength": 0.5, "energy": 0.5, "rank": 3}, "one of energy, rank and fraction"),
        ({"target": 1.0}, "below 1"),
        ({"target": -0.1}, "at least 0"),
        ({"strength": 1.5}, "less than or equal to 1"),
        ({"strength": 0.5, "energy": 0.0}, "greater than 0"),
        ({"target": "luck"}, "chance"),
    ],
)
def test_contradictory_parameters_are_refused(given_: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        Strip.model_validate(given_)


def test_energy_one_half_is_the_default() -> None:
    assert Strip(strength=1.0).size == SubspaceSize("energy", 0.5)
    assert math.isclose(Strip(strength=1.0, fraction=0.25).size.value, 0.25)
