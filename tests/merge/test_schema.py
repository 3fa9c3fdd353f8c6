"""mergekit's schema: how many sources a method takes, models and slices as it writes them."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch
import yaml

from weightlens.errors import RecipeError
from weightlens.merge.methods import METHODS
from weightlens.merge.parameters import parameters_of
from weightlens.merge.recipe import Recipe
from weightlens.merge.resolution import Resolution, parse_recipe, resolve

BASE = "org/base"


def parsed(recipe: Mapping[str, Any]) -> Resolution:
    return parse_recipe(yaml.safe_dump(dict(recipe), sort_keys=False), "r.yaml")


# --- how many sources, and the base ---


def accepted_by_mergekit(name: str, sources: list[str], base: str | None) -> bool:
    from mergekit.merge_methods import get

    try:
        get(name).validate_inputs(sources, base)
    except ValueError:
        return False
    return True


def with_parameters(name: str) -> dict[str, Any]:
    """A recipe of this method with what must be given, but no sources."""
    needed = [p.name for p in parameters_of(METHODS[name]).values() if p.needed]
    return {"merge_method": name, "parameters": dict.fromkeys(needed, 0.5)}


def accepted(recipe: Mapping[str, Any]) -> bool:
    try:
        parsed(recipe)
    except RecipeError:
        return False
    return True


@pytest.mark.parametrize("name", METHODS)
def test_the_numbers_of_sources_are_mergekits(name: str) -> None:
    """But a base alone, which mergekit copies, is an error: nothing would be merged."""
    for count in range(5):
        others = [f"org/{i}" for i in range(count)]
        for base, listed in ((None, others), (BASE, [*others[:1], BASE, *others[1:]])):
            expected = accepted_by_mergekit(name, listed, base)
            if listed == [BASE] and METHODS[name].base != "ignored":
                expected = False
            sources = [{"model": model, "layer_range": [0, 2]} for model in listed]
            recipe = with_parameters(name) | ({"base_model": base} if base else {})
            sliced = recipe | {"slices": [{"sources": sources}]}
            assert accepted(sliced) is (expected and bool(listed)), (listed, base)
            models = [{"model": model} for model in listed]
            assert accepted(recipe | {"models": models}) is (expected and bool(listed))
            if base and others:  # a base that is not listed takes part; in slices it has to be
                appended = [{"model": model} for model in others]
                assert accepted(recipe | {"models": appended}) is expected
                without = recipe | {"slices": [{"sources": [
                    source for source in sources if source["model"] != BASE
                ]}]}  # fmt: skip
                assert accepted(without) is accepted_by_mergekit(name, others, base)


def test_each_slice_may_have_a_base_of_its_own() -> None:
    pair = [{"model": model, "layer_range": [0, 2]} for model in ("a", "b")]
    recipe = {
        "merge_method": "slerp",
        "base_model": "a",
        "parameters": {"t": 0.5},
        "slices": [{"sources": pair}, {"sources": pair, "base_model": "b"}],
    }
    first, second = parsed(recipe).groups
    assert first.base is not None and second.base is not None
    assert (first.base.model, second.base.model) == ("a", "b")
    assert [use.model for use in second.sources] == ["a"]
    assert parsed({k: v for k, v in recipe.items() if k != "base_model"}
                  | {"slices": recipe["slices"][1:]}).groups[0].base is not None  # fmt: skip


def test_a_model_twice_in_a_slice_is_an_error_and_in_two_slices_is_none() -> None:
    recipe = {"merge_method": "passthrough"} | sliced(("a", 0, 2), ("a", 0, 2))
    assert parsed(recipe).sources == ("a",)
    twice = [{"model": "a"}, {"model": {"model": {"path": "a"}}}]
    with pytest.raises(RecipeError, match=r"models.1: a is listed twice"):
        parsed({"merge_method": "karcher", "models": twice})


def sliced(*spans: tuple[str, int, int]) -> dict[str, Any]:
    """One slice for each."""
    of = [[{"model": model, "layer_range": [first, end]}] for model, first, end in spans]
    return {"slices": [{"sources": sources} for sources in of]}


# --- models and types as written ---

HEAD = "merge_method: task_arithmetic\nbase_model: b\n"
MODELS = "models:\n- model: t\n  parameters: {weight: 0.5}\n"


@pytest.mark.parametrize(
    "written",
    [
        "org/name",
        "org/name@v2",
        "org/name+org/lora",
        "org/name@v2+org/lora@v3",
        {"model": "org/name"},
        {"model": {"path": "org/name"}},
        {"model": {"path": "org/name", "revision": "v2"}},
        {"model": {"path": "org/name", "revision": None}, "lora": None},
        {"model": {"path": "org/name"}, "lora": {"path": "org/lora", "revision": "v3"}},
        {"model": "org/name", "lora": "org/lora"},
    ],
)
def test_models_are_named_as_mergekit_names_them(written: Any) -> None:
    from mergekit.common import ModelReference

    expected = ModelReference.model_validate(written)
    recipe = {"merge_method": "linear", "parameters": {"weight": 1}}
    found = parsed(recipe | {"models": [{"model": written}]}).sources[0]
    assert ModelReference.model_validate(found) == expected


@pytest.mark.parametrize(
    "written",
    [7, [], {}, {"model": 7}, {"model": {"pth": "a"}}, {"model": {"path": 7}}, {"modle": "a"},
     {"model": {"path": "a"}, "override_architecture": "LlamaForCausalLM"}],
)  # fmt: skip
def test_what_names_no_model_is_an_error(written: Any) -> None:
    with pytest.raises(RecipeError, match=r"r.yaml:5: models.0.model: "):
        parsed({"merge_method": "linear", "parameters": {"weight": 1},
                "models": [{"model": written}]})  # fmt: skip


@pytest.mark.parametrize("name", ["float32", "bfloat16", "float16", "float64"])
def test_types_have_the_names_that_mergekit_knows(name: str) -> None:
    from mergekit.common import dtype_from_name

    for written in (name, f"torch.{name}"):
        recipe = parse_recipe(f"{HEAD}{MODELS}dtype: {written}\n").recipe
        assert recipe.read_dtype == recipe.write_dtype == dtype_from_name(written)
        recipe = parse_recipe(f"{HEAD}{MODELS}dtype: float32\nout_dtype: {written}\n").recipe
        assert (recipe.read_dtype, recipe.write_dtype) == (torch.float32, getattr(torch, name))


# --- slices ---


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        ("{model: a, layer_range: [4, 0]}", r"r.yaml:4: slices.0.sources.0: .*holds no layers"),
        ("{model: a, layer_range: [4, 4]}", r"holds no layers"),
        ("{model: a, layer_range: [-1, 4]}", r"holds no layers"),
        ("{model: a, layer_range: [0, 4, 5]}", r"layer_range: .*2 items"),
        ("{model: a, layer_range: 4}", r"slices.0.sources.0.layer_range: "),
        ("{model: a}", r"slices.0.sources.0: layer_range is missing"),
        ("{model: a, layer_range: [0, x]}", r"slices.0.sources.0.layer_range.1: .*integer"),
        (
            "{model: a, layer_range: [0, 2]}, {model: b, layer_range: [0, 3]}",
            r"slices.0: all sources of a slice need the same number of layers",
        ),
    ],
)
def test_slices_that_do_not_fit_are_errors(sources: str, message: str) -> None:
    text = f"merge_method: karcher\nslices:\n- sources:\n  - {sources}\n"
    text = text.replace("}, {", "}\n  - {")
    with pytest.raises(RecipeError, match=message):
        parse_recipe(text, "r.yaml")


def test_residual_weight_is_taken_and_has_no_effect() -> None:
    text = "merge_method: passthrough\nslices:\n- sources: [{model: a, layer_range: [0, 2]}]\n"
    resolution = parse_recipe(text + "  residual_weight: 0.5\n", "r.yaml")
    assert resolution.warnings == ("r.yaml:4: slices.0.residual_weight: has no effect; ignored",)


def test_a_recipe_made_in_python_is_the_same() -> None:
    text = HEAD + MODELS + "dtype: torch.float32\n"
    assert resolve(Recipe.model_validate(yaml.safe_load(text))).method() == (
        parse_recipe(text).method()
    )
