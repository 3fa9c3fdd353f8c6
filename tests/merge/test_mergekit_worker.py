"""What an exception inside mergekit comes to."""

from collections.abc import Callable

import pytest
from pydantic import BaseModel

from weightlens.merge.mergekit_worker import as_ours

Failure = Callable[[], Exception]


class _Tells(BaseModel):
    rank: int


def _validation_error() -> Exception:
    try:
        _Tells.model_validate({"rank": "many"})
    except ValueError as error:
        return error
    raise AssertionError


@pytest.mark.parametrize(
    ("failure", "kind", "said"),
    [
        (lambda: RuntimeError("bad\n  recipe"), "RecipeError", "mergekit: bad recipe"),
        (_validation_error, "RecipeError", "mergekit: rank: Input should be a valid integer"),
        (lambda: OSError("no config.json"), "CheckpointError", "mergekit: no config.json"),
        (lambda: OSError(28, "No space left"), "OutputError", "No space left"),
        (lambda: KeyError("x"), "InputError", "mergekit: KeyError: 'x'"),
        (lambda: ModuleNotFoundError("No module named 'mergekit'"), "InputError", "is missing"),
        (lambda: AssertionError(), "InputError", "AssertionError"),
    ],
)
def test_exceptions_become_ours(failure: Failure, kind: str, said: str) -> None:
    found = as_ours(failure())
    assert type(found).__name__ == kind and said in str(found)
    assert as_ours(found) is found
