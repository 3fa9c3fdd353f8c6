"""Parameter values as recipes write them: numbers, gradients over the layers, filters by name.

    weight: 0.5                                 one value
    weight: [0, 0.5, 1]                         a gradient: from the first layer to the last
    weight:                                     the first whose filter is part of the tensor's name
      - {filter: self_attn, value: [0, 1]}
      - {value: 0.5}                            no filter, or "*": every tensor

as in mergekit 0.1.5 (its docs, "Parameter Specification").
"""

from collections.abc import Callable, Iterator
from typing import Any

Scalar = bool | int | float | str
Setting = Any
"""A value as YAML gives it; `problem` says whether it is one."""

Place = tuple[str | int, ...]

CONDITION = ("filter", "value")
"""What a condition is made of."""


def problem(setting: Setting) -> tuple[Place, str] | None:
    """What is wrong with the form of a setting and where inside it; None where nothing is."""
    if isinstance(setting, dict):
        return _conditional_problem(setting)
    if not isinstance(setting, list):
        return None if _is_scalar(setting) else ((), "must be a number, true, false or a word")
    if not setting:
        return (), "an empty list gives no value"
    if any(isinstance(entry, dict) for entry in setting):
        for i, entry in enumerate(setting):
            found = (
                _conditional_problem(entry)
                if isinstance(entry, dict)
                else ((), "a list of filters holds {filter, value} throughout")
            )
            if found:
                return (i, *found[0]), found[1]
        return None
    for i, entry in enumerate(setting):
        if not _is_scalar(entry):
            return (i,), "must be a number, true, false or a word"
    return None


def unknown_keys(setting: Setting, at: Place = ()) -> Iterator[Place]:
    """Where conditions have keys that mean nothing."""
    if isinstance(setting, dict):
        yield from ((*at, str(key)) for key in setting if key not in CONDITION)
    elif isinstance(setting, list):
        for i, entry in enumerate(setting):
            yield from unknown_keys(entry, (*at, i))


def _conditional_problem(entry: dict[Any, Any]) -> tuple[Place, str] | None:
    if "value" not in entry:
        return (), "value is missing"
    if not isinstance(entry.get("filter"), str | None):
        return ("filter",), "must be part of a tensor's name"
    value = entry["value"]
    if isinstance(value, dict) or (
        isinstance(value, list) and any(isinstance(v, dict) for v in value)
    ):
        return ("value",), "filters do not nest"
    found = problem(value)
    return (("value", *found[0]), found[1]) if found else None


def _is_scalar(value: Any) -> bool:
    return isinstance(value, bool | int | float | str)


def scalars(setting: Setting, at: Place = ()) -> Iterator[tuple[Place, Scalar]]:
    """Every single value in a setting of good form, and where it stands."""
    if isinstance(setting, dict):
        yield from scalars(setting["value"], (*at, "value"))
    elif isinstance(setting, list):
        for i, entry in enumerate(setting):
            yield from scalars(entry, (*at, i))
    else:
        yield at, setting


def evaluate(setting: Setting, name: str, t: float, typed: Callable[[Scalar], Any]) -> Any:
    """The value for a tensor; None where no filter fits it.

    name: the tensor's; t: how far its layer is up the stack, 0 to 1; typed: turns a value into the
    parameter's type. Numbers between the points of a gradient are interpolated; of words and of
    true and false the nearest point below counts.
    """
    if isinstance(setting, dict):
        setting = [setting]
    if not isinstance(setting, list):
        return typed(setting)
    if not isinstance(setting[0], dict):
        return _along([typed(value) for value in setting], t, typed)
    for entry in setting:
        wanted = entry.get("filter")
        if wanted is None or wanted == "*" or (name and wanted in name):
            return evaluate(entry["value"], name, t, typed)
    return None


def _along(values: list[Any], t: float, typed: Callable[[Scalar], Any]) -> Any:
    at = t * (len(values) - 1)
    below = int(at)
    if not all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
        return values[below]
    above = min(len(values) - 1, below + 1)
    share = at - below
    return typed((1 - share) * values[below] + share * values[above])
