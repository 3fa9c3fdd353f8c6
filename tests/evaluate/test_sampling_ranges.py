"""Numbers that make no sense are refused before anything is asked, wherever they come from."""

from typing import Any

import pytest
from own_tasks import never

from weightlens.errors import EvaluationError
from weightlens.evaluate.asked_model import Settings
from weightlens.evaluate.builtin import REASONING
from weightlens.evaluate.chosen import Changes, Chosen
from weightlens.evaluate.task import Sampling, Task

INFINITE, NO_NUMBER = float("inf"), float("nan")
WRONG: list[tuple[str, Any]] = [
    ("max_new_tokens", 0),
    ("temperature", -0.1),
    ("temperature", INFINITE),
    ("temperature", NO_NUMBER),
    ("top_p", 0.0),
    ("top_p", 1.1),
    ("top_p", NO_NUMBER),
]


@pytest.mark.parametrize(("name", "value"), [*WRONG, ("limit", 0), ("limit", -1), ("draws", 0)])
def test_changes_out_of_range_are_refused_by_name(name: str, value: float) -> None:
    with pytest.raises(EvaluationError, match=rf"^{name}: .* not {value}$"):
        Changes(**{name: value})


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_sampling_out_of_range_is_refused_by_name(name: str, value: float) -> None:
    with pytest.raises(EvaluationError, match=rf"^{name}: "):
        Sampling(**{"max_new_tokens": 5} | {name: value})


def test_the_ends_of_the_ranges_are_allowed() -> None:
    assert Changes(1, 1, 0.0, 1.0, 1).applied_to(REASONING).sampling == Sampling(1, 0.0, 1.0)
    assert Sampling(1, 1000.0, 5e-324).top_p == 5e-324
    assert Changes() == Changes(None, None, None, None, None)


def test_a_limit_or_a_batch_of_nothing_is_refused() -> None:
    with pytest.raises(EvaluationError, match=r"^limit: "):
        Chosen(REASONING, 0)
    with pytest.raises(EvaluationError, match=r"^batch_size: "):
        Settings(batch_size=0)


def test_a_task_of_no_draws_or_of_several_greedy_ones_is_refused() -> None:
    def made(draws: int, temperature: float) -> Task:
        return Task("mine", 1, "accuracy", lambda split, limit: [], never,
                    Sampling(5, temperature), draws)  # fmt: skip

    assert made(2, 0.6).draws == 2
    with pytest.raises(EvaluationError, match=r"^draws: "):
        made(0, 0.6)
    with pytest.raises(EvaluationError, match=r"^mine: 2 draws at temperature 0 are one"):
        made(2, 0.0)
