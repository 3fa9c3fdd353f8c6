"""Numbers, gradients and filters: the values that mergekit's own functions give, and the errors."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from weightlens.merge.settings import evaluate, problem, scalars, unknown_keys

NAMES = ("model.layers.3.self_attn.o_proj.weight", "lm_head.weight", "")
FILTERS = st.sampled_from([None, "*", "self_attn", "layers.3.", "layers.30", "lm_head", "o_proj"])

NUMBERS = (
    st.floats(-1e3, 1e3) | st.integers(-9, 9) | st.sampled_from(["1e-3", "0.5", "-2"])
    | st.booleans()
)  # fmt: skip
SWITCHES = st.booleans() | st.sampled_from([0, 1, "yes", "off"])
WORDS = st.sampled_from(["union", "base", "yes", "0.5"])


def forms(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """A value in every form that recipes know."""
    plain = values | st.lists(values, min_size=1, max_size=5)
    condition = st.fixed_dictionaries({"value": plain}, optional={"filter": FILTERS})
    return plain | condition | st.lists(condition, min_size=1, max_size=4)


SHARES = st.floats(0, 1) | st.sampled_from([0.0, 1.0, 0.5, 1 / 3])


def outcome(call: Callable[[], Any]) -> Any:
    """What comes of it: a value with its type, or that it was refused."""
    try:
        found = call()
    except ValueError:
        return "refused"
    return type(found), found


@settings(deadline=None, max_examples=150)
@given(data=st.data(), t=SHARES, name=st.sampled_from(NAMES))
@pytest.mark.parametrize(
    ("kind", "values"), [(float, NUMBERS), (bool, SWITCHES), (str, WORDS), (int, st.integers(0, 9))]
)
def test_every_form_comes_to_what_mergekit_makes_of_it(
    kind: type, values: st.SearchStrategy[Any], data: st.DataObject, t: float, name: str
) -> None:
    from mergekit.config import ParameterSetting, evaluate_setting

    setting = data.draw(forms(values))
    typed = TypeAdapter(kind).validate_python
    theirs = TypeAdapter(ParameterSetting).validate_python(setting)
    assert problem(setting) is None
    assert not list(unknown_keys(setting))
    assert outcome(lambda: evaluate(setting, name, t, typed)) == outcome(
        lambda: evaluate_setting(name, theirs, t, validate=typed)
    )


# Points at 0, 1/2 and 1; a quarter of the way lies in the middle of the first two.
@pytest.mark.parametrize(
    ("t", "value"), [(0.0, 2.0), (0.25, 3.0), (0.5, 4.0), (0.75, 2.0), (1.0, 0.0)]
)
def test_numbers_between_the_points_of_a_gradient_are_interpolated(t: float, value: float) -> None:
    assert evaluate([2, 4, 0], "a", t, float) == value


def test_of_true_and_false_and_of_words_the_point_below_counts() -> None:
    switches = TypeAdapter(bool).validate_python
    found = [evaluate([True, False], "a", t, switches) for t in (0.0, 0.99, 1.0)]
    assert found == [True, True, False]
    assert evaluate(["low", "middle", "high"], "a", 0.6, str) == "middle"


def test_the_first_filter_that_is_part_of_the_name_counts() -> None:
    setting = [
        {"filter": "self_attn", "value": [0, 1]},
        {"filter": "attn", "value": 7},
        {"value": 3},
    ]
    assert evaluate(setting, "h.0.self_attn.q", 0.5, float) == 0.5
    assert evaluate(setting, "h.0.attn.q", 0.5, float) == 7
    assert evaluate(setting, "h.0.mlp", 0.5, float) == 3
    assert evaluate(setting[:2], "h.0.mlp", 0.5, float) is None
    assert evaluate({"filter": "*", "value": 1}, "", 0.0, float) == 1


@pytest.mark.parametrize(
    ("setting", "place", "message"),
    [
        ([], (), "empty list"),
        (None, (), "must be a number"),
        ([1, None], (1,), "must be a number"),
        ([1, [2]], (1,), "must be a number"),
        ([{"value": 1}, 2], (1,), "throughout"),
        ({"filter": "a"}, (), "value is missing"),
        ({"filter": 5, "value": 1}, ("filter",), "part of a tensor's name"),
        ([{"value": [1, None]}], (0, "value", 1), "must be a number"),
        ([{"value": {"value": 1}}], (0, "value"), "do not nest"),
        ([{"value": [{"value": 1}]}], (0, "value"), "do not nest"),
        ([{"value": []}], (0, "value"), "empty list"),
    ],
)
def test_what_is_no_setting_is_told_with_its_place(
    setting: Any, place: tuple[str | int, ...], message: str
) -> None:
    found = problem(setting)
    assert found is not None
    assert found[0] == place
    assert message in found[1]


def test_keys_that_mean_nothing_are_found() -> None:
    assert list(unknown_keys([{"value": 1}, {"filtre": "a", "value": 2}])) == [(1, "filtre")]
    assert list(unknown_keys({"vale": 1})) == [("vale",)]


def test_every_single_value_and_its_place() -> None:
    setting = [{"filter": "a", "value": [1, True]}, {"value": "x"}]
    found = [((0, "value", 0), 1), ((0, "value", 1), True), ((1, "value"), "x")]
    assert list(scalars(setting)) == found
