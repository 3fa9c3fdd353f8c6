"""Which draws are asked together."""

from hypothesis import given
from hypothesis import strategies as st

from weightlens.evaluate.plan import Ask, BatchPlan, draws_of, seed_of, unfinished

LENGTHS = {"a": 3, "b": 9, "c": 5, "d": 9}
ASKS = [Ask(name, 0) for name in "abcd"]


def test_like_lengths_go_together_the_longest_first() -> None:
    plan = BatchPlan().extended(ASKS, LENGTHS, 3)
    assert plan.batches == ((Ask("b", 0), Ask("d", 0), Ask("c", 0)), (Ask("a", 0),))


def test_draws_of_a_question_stay_together() -> None:
    assert draws_of(["x", "y"], 2) == [Ask("x", 0), Ask("x", 1), Ask("y", 0), Ask("y", 1)]
    plan = BatchPlan().extended(draws_of("abcd", 2), LENGTHS, 4)
    assert [ask.question for ask in plan.batches[0]] == ["b", "b", "d", "d"]


def test_what_is_wanted_later_is_planned_behind() -> None:
    first = BatchPlan().extended(ASKS[:2], LENGTHS, 2)
    more = first.extended(ASKS, LENGTHS, 2)
    assert more.batches == (*first.batches, (Ask("d", 0), Ask("c", 0)))
    assert more.extended(ASKS, LENGTHS, 1) == more


def test_a_batch_that_did_not_fit_is_cut_with_all_behind_it() -> None:
    plan = BatchPlan().extended(ASKS, LENGTHS, 2).split(1, 1)
    assert plan.batches == (
        (Ask("b", 0), Ask("d", 0)),
        (Ask("c", 0),),
        (Ask("a", 0),),
    )


def test_a_batch_is_unfinished_where_a_wanted_draw_is_missing() -> None:
    plan = BatchPlan().extended(ASKS, LENGTHS, 2)
    assert [*unfinished(plan, ASKS, [Ask("b", 0)])] == [0, 1]
    assert [*unfinished(plan, ASKS, [Ask("b", 0), Ask("d", 0)])] == [1]
    assert [*unfinished(plan, [Ask("b", 0)], [Ask("b", 0)])] == []


@given(st.dictionaries(st.text(max_size=3), st.integers(1, 50), min_size=1), st.integers(1, 9))
def test_every_draw_is_planned_once(lengths: dict[str, int], size: int) -> None:
    wanted = draws_of([*lengths], 3)
    plan = BatchPlan().extended(wanted, lengths, size)
    planned = [ask for batch in plan.batches for ask in batch]
    assert sorted(planned) == sorted(wanted) and plan.asks == set(wanted)
    assert all(len(batch) <= size for batch in plan.batches)
    found = [lengths[ask.question] for ask in planned]
    assert found == sorted(found, reverse=True)


def test_a_draws_seed_is_its_own_and_always_the_same() -> None:
    seeds = {seed_of(task, Ask(question, draw), seed) for task in ("t", "u")
             for question in ("1", "11") for draw in (0, 1, 11) for seed in (0, 1)}  # fmt: skip
    assert len(seeds) == 24 and all(0 <= seed < 2**64 for seed in seeds)
    assert seed_of("gsm8k", Ask("gsm8k/0", 0), 0) == seed_of("gsm8k", Ask("gsm8k/0", 0), 0)
