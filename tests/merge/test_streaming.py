import pytest
import torch
from fine_tunes import family, vector
from hypothesis import given, settings
from hypothesis import strategies as st

from weightlens.merge.method import normalised, weighted_sum
from weightlens.merge.streaming import CHUNK, Held, Key, gram, inner, total


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 50), st.integers(1, 9), st.integers(1, 400))
def test_blocks_follow_each_other_in_whole_rows(rows: int, width: int, size: int) -> None:
    tensor = Held(None, [torch.arange(rows * width, dtype=torch.float32).reshape(rows, width)])
    blocks = list(tensor.blocks(width, size=size))
    assert all(len(block) % width == 0 for block in blocks)
    assert all(len(block) <= max(size, width) for block in blocks)
    assert [block.start for block in blocks] == [int(block.sources[0][0]) for block in blocks]
    assert sum(len(block) for block in blocks) == tensor.entries


def test_a_block_has_base_and_sources_side_by_side() -> None:
    tensor = Held(vector(1, 2, 3), [vector(4, 5, 6), vector(7, 8, 9)], Key(2, "name"))
    assert (tensor.count, tensor.entries, tensor.shape, tensor.key.seed) == (2, 3, (3,), 2)
    block = tensor.block(1, 3)
    assert block.base is not None and block.base.tolist() == [2, 3]
    assert [source.tolist() for source in block.sources] == [[5, 6], [8, 9]]


def test_a_transposed_source_streams_in_the_order_of_its_entries() -> None:
    tensor = Held(None, [torch.tensor([[1.0, 2.0], [3.0, 4.0]]).T])
    assert tensor.block(0, 4).sources[0].tolist() == [1, 3, 2, 4]


def test_a_tensor_without_entries_has_no_blocks() -> None:
    assert list(Held(None, [torch.zeros(0, 4)]).blocks(4)) == []


# 1025 ones: a stretch of 1024 and one more
def test_totals_include_what_is_left_of_the_last_stretch() -> None:
    for n in (0, 1, 63, 1023, 1024, 1025, 2049):
        assert total(torch.ones(n)) == inner(torch.ones(n), torch.ones(n)) == n


# Rounding a product and a sum of 1024 in float32 is off by at most 1024 · 2⁻²⁴ of the sum of sizes,
# and at random, in lanes of which each adds up a few, by far less; float64 adds the stretches up.
def test_inner_products_are_those_of_float64_to_a_millionth() -> None:
    of = family((1000, 131), 2, size=1.0)
    a, b = (t.flatten() for t in of.tuned)
    exact = float(torch.dot(a.double(), b.double()))
    assert inner(a, b) == pytest.approx(exact, rel=1e-6)
    squares = float(torch.dot(a.double(), a.double()))
    assert inner(a, a) == pytest.approx(squares, rel=1e-7)


def test_gram_holds_the_inner_products_of_all_pairs() -> None:
    tensor = Held(vector(1, 2), [vector(3, 0), vector(0, -1)])
    assert gram(tensor).tolist() == [[9, 0], [0, 1]]
    assert gram(tensor, with_base=True).tolist() == [[5, 3, -2], [3, 9, 0], [-2, 0, 1]]


def test_gram_of_more_than_a_chunk_adds_the_chunks_up() -> None:
    ones = torch.ones(2 * CHUNK + 17)
    assert gram(Held(None, [ones, 2 * ones]))[1].tolist() == [2.0 * ones.numel(), 4.0 * len(ones)]


# A fused multiply-add would round once where two operations round twice: 1 + 2⁻¹² squared is
# 1 + 2⁻¹¹ + 2⁻²⁴, which rounds to 1 + 2⁻¹¹; less 1 + 2⁻¹¹ that is 0, and 2⁻²⁴ if fused.
def test_products_are_rounded_before_they_are_added() -> None:
    near, squared = 1 + 2.0**-12, 1 + 2.0**-11
    for entries in (1, 7, 8, 33):
        ones = torch.ones(entries)
        found = weighted_sum([ones * -squared, ones * near], [1.0, near])
        assert found.tolist() == [0.0] * entries


# 1/6 + 2/6 + 3/6
def test_normalised_weights_sum_to_one() -> None:
    assert normalised([1.0, 2.0, 3.0]) == pytest.approx((1 / 6, 1 / 3, 1 / 2))
    with pytest.raises(ValueError, match="normalize: false"):
        normalised([0.1, 0.2, -0.3])
