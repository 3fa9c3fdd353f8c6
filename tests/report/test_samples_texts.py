"""What was thought and what was said, and how texts are made short enough for a page."""

import pytest
from evaluated import draw
from hypothesis import given, settings
from hypothesis import strategies as st

from weightlens.report.samples_texts import (
    SHORTEST_LIMIT,
    Said,
    fair_limit,
    shortened,
    taken_apart,
)


@pytest.mark.parametrize(
    ("raw", "answer", "said"),
    [
        ("<think>3+4</think>7", "7", Said("3+4", "7", "")),
        ("3+4\n</think>\n7", "7", Said("3+4", "7", "")),  # the template began the thought
        ("[THINK]3+4[/THINK]7", "7", Said("3+4", "7", "")),
        ("<think>3+4 and on", "", Said("3+4 and on", "", "")),
        ("7", "7", Said("", "7", "")),
        ("", "", Said("", "", "")),
        # special tokens remain in what was generated
        ("<think>3</think>7<|pad|>", "7", Said("3", "7", "<think>3</think>7<|pad|>")),
        ("<|x|>7", "7", Said("", "7", "<|x|>7")),
    ],
)
def test_an_answer_is_taken_apart(raw: str, answer: str, said: Said) -> None:
    assert taken_apart(draw("q", raw=raw, answer=answer)) == said


def test_a_hash_is_not_taken_apart() -> None:
    hashed = "sha256:" + "0" * 64
    assert taken_apart(draw("q", raw=hashed, answer=hashed)) == Said("", hashed, "")


# 1,000 + 2,000 + 2,500 + 2,500 = 8,000: the two longest give way, the others stay whole
def test_only_the_longest_texts_are_cut() -> None:
    assert fair_limit([9000, 1000, 4000, 2000], 8000) == 2500


def test_nothing_is_cut_within_the_budget() -> None:
    assert fair_limit([10, 20, 30], 60) is None
    assert fair_limit([], 0) is None


def test_no_budget_cuts_below_the_shortest_limit() -> None:
    assert fair_limit([10_000] * 10, 1) == SHORTEST_LIMIT


@settings(deadline=None)
@given(st.lists(st.integers(0, 5000), min_size=1, max_size=30), st.integers(0, 100_000))
def test_the_limit_is_the_largest_that_keeps_the_budget(lengths: list[int], budget: int) -> None:
    limit = fair_limit(lengths, budget)
    if limit is None:
        assert sum(lengths) <= budget
        return
    assert sum(min(n, limit + 1) for n in lengths) > budget
    if limit > SHORTEST_LIMIT:
        assert sum(min(n, limit) for n in lengths) <= budget


def test_a_shortened_text_keeps_both_ends_and_counts_the_middle() -> None:
    text = "".join(chr(ord("a") + i % 26) for i in range(1000))
    found = shortened(text, 90)
    assert found == (text[:60], 910, text[-30:])
    assert shortened(text, 1000) == text
    assert shortened(text, None) == text
