import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from weightlens.merge import sampling, selection
from weightlens.merge.selection import EVERYTHING, NOTHING, Cut, cuts
from weightlens.merge.streaming import Block, Held

LARGE = 1_200_003
"""More entries than are collected whole, so that a sample brackets what is sought."""


def normal(entries: int = LARGE, seed: int = 0) -> Tensor:
    return torch.randn(entries, generator=torch.Generator().manual_seed(seed))


def in_order(values: Tensor) -> np.ndarray:
    """The positions of the values from the largest on, of equal ones the first first."""
    return np.argsort(-values.numpy(), kind="stable")


def among_largest(values: Tensor, rank: int, order: np.ndarray | None = None) -> np.ndarray:
    kept = np.zeros(values.numel(), bool)
    kept[(in_order(values) if order is None else order)[:rank]] = True
    return kept


def kept_by(cut: Cut, values: Tensor, size: int = 277_777) -> np.ndarray:
    blocks = Held(None, [values]).blocks(size=size)
    return torch.cat([cut.keeps(block.sources[0], block.start) for block in blocks]).bool().numpy()


def check(values: Tensor, ranks: list[int]) -> None:
    """Every rank of the values against the sort."""
    (found,) = cuts(Held(None, [values]), lambda block: [block.sources[0]], [ranks])
    order = in_order(values)
    for rank, cut in zip(ranks, found, strict=True):
        assert np.array_equal(kept_by(cut, values), among_largest(values, rank, order)), rank


def ranks_of(entries: int) -> list[int]:
    return [0, 1, entries // 100, entries // 5, entries // 2, entries - 1, entries]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(-3, 3), min_size=1, max_size=40), st.data())
def test_a_few_values_with_many_ties(numbers: list[int], data: st.DataObject) -> None:
    rank = data.draw(st.integers(0, len(numbers)))
    check(torch.tensor(numbers, dtype=torch.float32), [rank])


@settings(deadline=None, max_examples=30)
@given(st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=40), st.data())
def test_any_numbers_of_float32(numbers: list[float], data: st.DataObject) -> None:
    rank = data.draw(st.integers(0, len(numbers)))
    check(torch.tensor(numbers, dtype=torch.float32), [rank])


CASES = {
    "normal": normal().abs(),
    "rounded to bfloat16": normal().abs().bfloat16().float(),
    "rounded to quarters": (normal() * 4).round() / 4,
    "rising": normal().sort().values,
    "falling": normal().sort(descending=True).values,
    "all equal": torch.full((LARGE,), 0.25),
    "all zero": torch.zeros(LARGE),
    "nine tenths zero": torch.where(normal(seed=1).abs() < 1.65, 0.0, normal()),
    "one column in eight": normal() * (torch.arange(LARGE) % 1024 < 128),
}


@pytest.mark.parametrize("case", CASES)
def test_it_is_the_stable_sort(case: str) -> None:
    check(CASES[case], ranks_of(LARGE))


def test_several_quantities_and_ranks_at_once() -> None:
    first, second = normal(seed=1), normal(seed=2).bfloat16().float()
    wanted = [[1, LARGE // 3], [LARGE // 7], []]
    found = cuts(
        Held(None, [first, second]), lambda b: [b.sources[0], b.sources[1].abs(), b.sources[0]],
        wanted,
    )  # fmt: skip
    for values, ranks, group in zip((first, second.abs()), wanted, found, strict=False):
        for rank, cut in zip(ranks, group, strict=True):
            assert np.array_equal(kept_by(cut, values), among_largest(values, rank))
    assert found[2] == []


def test_rows_stay_whole_where_a_quantity_needs_them() -> None:
    width, values = 1201, normal(1201 * 1000).reshape(1000, 1201)
    seen = []

    def row_maxima(block: Block) -> list[Tensor]:
        seen.append(len(block) % width)
        rows = block.sources[0].view(-1, width)
        return [(rows - rows.amax(1, keepdim=True)).flatten()]

    ((cut,),) = cuts(Held(None, [values]), row_maxima, [[5000]], width=width)
    expected = values - values.amax(1, keepdim=True)
    assert np.array_equal(kept_by(cut, expected.flatten()), among_largest(expected.flatten(), 5000))
    assert set(seen) == {0}


def test_the_cut_does_not_depend_on_the_blocks_it_is_asked_for() -> None:
    values = normal(5000).bfloat16().float()
    ((cut,),) = cuts(Held(None, [values]), lambda b: [b.sources[0]], [[1234]])
    for size in (1, 7, 777, 5000):
        assert np.array_equal(kept_by(cut, values, size), among_largest(values, 1234))


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(-3, 3), min_size=1, max_size=40), st.data())
def test_trimmed_blocks_hold_what_the_cut_keeps(numbers: list[int], data: st.DataObject) -> None:
    values = torch.tensor(numbers, dtype=torch.float32)
    rank, start = data.draw(st.integers(0, len(numbers))), data.draw(st.integers(0, len(numbers)))
    ((cut,),) = cuts(Held(None, [values]), lambda b: [b.sources[0].abs()], [[rank]])
    expected = values * torch.from_numpy(among_largest(values.abs(), rank))
    assert torch.equal(cut.trimmed(values[start:], start), expected[start:])


def test_nothing_and_everything() -> None:
    values = torch.tensor([-3.0, 0.0, 5.0])
    assert not NOTHING.keeps(values, 0).any() and EVERYTHING.keeps(values, 0).all()
    assert torch.equal(NOTHING.trimmed(values, 0), torch.zeros(3))
    assert torch.equal(EVERYTHING.trimmed(values, 0), values)


@pytest.fixture
def collected(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of entries that lie in memory at the end of each pass of each search."""
    counts = []
    conclude = selection._Search.conclude

    def counting(search: selection._Search) -> selection._Tie | None:
        counts.append(sum(len(inside) for inside in search._inside))
        return conclude(search)

    monkeypatch.setattr(selection._Search, "conclude", counting)
    return counts


def misled(values: Tensor, seen: Tensor) -> Tensor:
    """The values, but for the places that a sample looks at, which hold what is seen."""
    places = []
    tensor = Held(None, [torch.arange(len(values), dtype=torch.float64)])

    def looked_at(block: Block) -> list[Tensor]:
        places.append(block.sources[0].long())
        return [torch.zeros(len(block))]

    sampling.sampled(tensor, looked_at, 1, 1)
    at = torch.cat(places)
    values = values.clone()
    values[at] = seen[: len(at)]
    return values


# The pieces of a sample hold 65,536 entries, whose share below any value has an sd of at most
# 1/512: the bracket of a fair one, five of them on either side, holds 2 in 100, and some more
# where that is overestimated.
def test_a_fair_sample_leaves_a_few_hundredths_in_memory(collected: list[int]) -> None:
    check(normal(), ranks_of(LARGE)[1:])
    assert len(collected) == 6  # one pass
    assert max(collected) < 0.03 * LARGE


# Rows of sizes that differ a thousandfold, as of tokens that were trained on and others: neighbours
# are alike, so that a sample is worth 128 draws rather than 65,536. Its bracket is the wider.
@pytest.mark.parametrize("seed", range(5))
def test_a_sample_knows_that_neighbours_are_alike(collected: list[int], seed: int) -> None:
    rows = torch.randn(LARGE // 4096, 4096, generator=torch.Generator().manual_seed(seed))
    sizes = 10 ** (3 * torch.rand(len(rows), 1, generator=torch.Generator().manual_seed(seed + 9)))
    values = (rows * sizes).flatten()
    check(values, [len(values) // 2, len(values) // 5])
    assert len(collected) == 2  # one pass


# The sample holds 5 to 8, the rest a normal spread: the bracket lies above what is sought.
def test_a_sample_that_misses_costs_passes_but_no_memory(collected: list[int]) -> None:
    check(misled(normal(), 5 + 3 * torch.rand(LARGE)), [LARGE // 5, LARGE // 2])
    assert len(collected) == 8  # four passes
    assert max(collected) < 0.07 * LARGE


@pytest.fixture
def bound(monkeypatch: pytest.MonkeyPatch) -> int:
    """How many entries a search may collect: of so small a tensor, a share as of a large one."""
    monkeypatch.setattr(selection, "_COLLECTED", 100_000)
    return 100_000


# Six entries in seven are 1/2, none of which the sample sees.
def test_a_value_that_most_entries_have_is_not_collected(collected: list[int], bound: int) -> None:
    values = torch.where(torch.arange(LARGE) % 7 > 0, 0.5, normal())
    check(misled(values, 5 + 3 * torch.rand(LARGE)), ranks_of(LARGE))
    assert max(collected) <= bound


# The sample holds far ends only, most entries the middle: all of it lies inside the bracket.
def test_no_more_than_a_bound_is_collected(collected: list[int], bound: int) -> None:
    ends = 9 * torch.where(torch.arange(LARGE) % 2 == 0, 1.0, -1.0)
    check(misled(normal(), ends), [LARGE // 2, LARGE // 3])
    assert max(collected) <= bound


# The sample is 1/2 throughout, so that both ends of the bracket are; what is sought lies below.
def test_a_bracket_of_one_value_can_miss() -> None:
    values = misled(normal(), torch.full((LARGE,), 0.5))
    above, equal = int((values > 0.5).sum()), int((values == 0.5).sum())
    check(values, [above, above + 1, above + equal, above + equal + 1, above + equal + 1000])


# 128 columns of 1024 hold all that is not 0. Pieces of half a row at the same place in every 16th
# row would see none of them, or twice as many; a fair sample is off by less than the bracket.
def test_a_sample_does_not_stay_in_step_with_columns() -> None:
    values = normal(2048 * 1024).abs() * (torch.arange(2048 * 1024) % 1024 < 128)
    (sample,) = sampling.sampled(Held(None, [values]), lambda b: [b.sources[0]], 1, 1)
    assert abs((sample._sorted > 0).mean() - 1 / 8) < 0.03


def test_a_sample_is_never_larger_than_the_tensor() -> None:
    width = 400_001
    rows = normal(3 * width).reshape(3, width)
    seen = 0

    def counting(block: Block) -> list[Tensor]:
        nonlocal seen
        seen += len(block)
        return [block.sources[0]]

    sampling.sampled(Held(None, [rows]), counting, 1, width)
    assert 0 < seen <= rows.numel()


@pytest.mark.parametrize(
    "values",
    {
        "normal": normal(300_001),
        "mostly one": torch.where(torch.arange(300_001) % 9 > 0, 0.5, normal(300_001)),
        # the strided sample sees nothing but these
        "misleading": normal(300_001) + 9.0 * (torch.arange(300_001) % (300_001 // 4096) == 0),
    }.values(),
    ids=["normal", "mostly one", "misleading"],
)
def test_the_largest_of_many_are_those_of_the_sort(values: Tensor) -> None:
    array = values.numpy()
    ordered = np.sort(array)[::-1]
    for rank in (1, 2, 777, 100_000, 150_001, 299_999, 300_001):
        assert selection._largest(array, rank) == ordered[rank - 1]
