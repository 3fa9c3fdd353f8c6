"""Whose parameters count, and which tensors they meet: as in mergekit."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from weightlens.errors import RecipeError
from weightlens.merge.job import Job
from weightlens.merge.methods.passthrough import Passthrough
from weightlens.merge.methods.slerp import Slerp
from weightlens.merge.opening import hold_sources
from weightlens.merge.plan import make_plan
from weightlens.merge.resolution import Resolution, parse_recipe

BASE, FIRST, SECOND = "org/base", "org/first", "org/second"


def parsed(recipe: Mapping[str, Any]) -> Resolution:
    return parse_recipe(yaml.safe_dump(dict(recipe), sort_keys=False), "r.yaml")


# --- whose parameters count ---

SHARES = st.floats(0, 1).map(lambda share: round(share, 3))
SCALAR_OR_GRADIENT = SHARES | st.lists(SHARES, min_size=1, max_size=3)
FILTERED = st.lists(
    st.fixed_dictionaries(
        {"value": SCALAR_OR_GRADIENT},
        optional={"filter": st.sampled_from(["mlp", "layers.1.", "layers.7.", "*"])},
    ),
    min_size=1,
    max_size=2,
)
SETTING = SCALAR_OR_GRADIENT | FILTERED
SCOPE = st.none() | st.fixed_dictionaries(
    {}, optional=dict.fromkeys(["weight", "density", "gamma", "lambda"], SETTING)
)
OWN = st.none() | st.fixed_dictionaries(
    {}, optional=dict.fromkeys(["weight", "density", "gamma"], SETTING)
)
OUTPUT = "model.layers.1.mlp.up_proj.weight"
INPUTS = {BASE: OUTPUT, FIRST: OUTPUT, SECOND: OUTPUT.replace(".1.", ".7.")}


@st.composite
def nested_recipes(draw: st.DrawFn) -> dict[str, Any]:
    """One slice of one module, with parameters anywhere."""
    sources = [
        {"model": BASE, "layer_range": [0, 4]},
        {"model": FIRST, "layer_range": [0, 4], "parameters": draw(OWN)},
        {"model": SECOND, "layer_range": [6, 10], "parameters": draw(OWN)},
    ]
    part = {"sources": sources, "parameters": draw(SCOPE)}
    module = {"slices": [part], "parameters": draw(SCOPE)}
    return {
        "merge_method": "breadcrumbs",
        "base_model": BASE,
        "modules": {"default": module},
        "parameters": draw(SCOPE),
    }


def of_mergekit(recipe: Mapping[str, Any], t: float) -> dict[str, Any] | None:
    """Its own values for one tensor; None where it refuses."""
    from mergekit.common import ModelReference
    from mergekit.config import ConfigReader, MergeConfiguration
    from mergekit.merge_methods import get
    from mergekit.parameter_resolver import resolve_parameters

    config = MergeConfiguration.model_validate(recipe)
    assert config.modules is not None
    module = config.modules["default"]
    assert module.slices is not None
    reader = ConfigReader(config=config, t=t, slice_out=module.slices[0], module=module)
    inputs = {ModelReference.model_validate(name): at for name, at in INPUTS.items()}
    try:
        shared, own = resolve_parameters(
            get("breadcrumbs").spec,
            tensor_name=OUTPUT,
            inputs=inputs,
            sources=reader.parameter_sources,
            base_model=config.base_model,
            t=t,
        )
    except RuntimeError:
        return None
    first, second = (own[ModelReference.model_validate(name)] for name in (FIRST, SECOND))
    return {"lambda": shared["lambda"]} | {key: (first[key], second[key]) for key in first}


@settings(deadline=None, max_examples=150)
@given(recipe=nested_recipes(), t=st.floats(0, 1))
def test_each_parameter_comes_from_where_mergekit_takes_it(
    recipe: dict[str, Any], t: float
) -> None:
    expected = of_mergekit(recipe, t)
    try:
        resolution = parsed(recipe)
        method = resolution.method(output=OUTPUT, inputs=[INPUTS[FIRST], INPUTS[SECOND]], t=t)
    except RecipeError as error:
        assert "no weight" in str(error)
        assert expected is None
        return
    found = method.model_dump(by_alias=True)
    assert expected == {key: found[key] for key in ("lambda", "weight", "density", "gamma")}


LEVELS = ("source", "slice", "module", "recipe")


@pytest.mark.parametrize("given_at", range(len(LEVELS)))
def test_source_goes_before_slice_before_module_before_recipe(given_at: int) -> None:
    """Each level has a value of its own; those before the one that is asked for have none."""
    own, of_slice, of_module, of_recipe = (
        {"scale": level} if level >= given_at else {} for level in range(len(LEVELS))
    )
    source = {"model": FIRST, "layer_range": [0, 2], "parameters": own}
    module = {
        "slices": [{"sources": [source], "parameters": of_slice}],
        "parameters": of_module,
    }
    recipe = {"merge_method": "passthrough", "modules": {"default": module}}
    method = parsed(recipe | {"parameters": of_recipe}).method(output="a")
    assert method == Passthrough(scale=(float(given_at),))


def test_where_no_filter_fits_the_next_level_counts() -> None:
    own = {"scale": [{"filter": "mlp", "value": 2}]}
    recipe = {
        "merge_method": "passthrough",
        "models": [{"model": FIRST, "parameters": own}],
        "parameters": {"scale": {"filter": "attn", "value": 3}},
    }
    resolution = parsed(recipe)
    for name, scale in (("mlp.up", 2.0), ("attn.q", 3.0), ("norm", None)):
        assert resolution.method(output=name) == Passthrough(scale=(scale,)), name


# --- which tensors they meet ---


def tiny(layers: int, *, value: float = 1.0) -> dict[str, torch.Tensor]:
    """Two tensors in each layer, and one on either side."""
    names = [f"model.layers.{i}.{part}.weight" for i in range(layers) for part in ("attn", "mlp")]
    every = ["model.embed_tokens.weight", *names, "lm_head.weight"]
    return {name: torch.full((2, 2), value) for name in every}


def jobs(recipe: Mapping[str, Any], **layers: int) -> Iterator[Job]:
    resolution = parsed(recipe)
    models = {name: tiny(count) for name, count in layers.items()}
    yield from make_plan(resolution, hold_sources(resolution, models)).jobs


def shares(recipe: Mapping[str, Any], **layers: int) -> dict[str, float]:
    """t of a slerp by tensor."""
    found = {}
    for job in jobs(recipe, **layers):
        assert isinstance(job.method, Slerp)
        found[job.name.removeprefix("model.").removesuffix(".weight")] = job.method.t
    return found


SLERP = {"merge_method": "slerp", "base_model": "a", "parameters": {"t": [0, 1]}}


def test_a_gradient_goes_from_the_first_layer_to_the_last_and_is_at_its_start_elsewhere() -> None:
    found = shares(SLERP | {"models": [{"model": "b"}]}, a=4, b=4)
    assert found["embed_tokens"] == found["lm_head"] == 0
    for layer in range(4):
        assert found[f"layers.{layer}.attn"] == found[f"layers.{layer}.mlp"] == layer / 3


def sliced(*spans: tuple[str, int, int]) -> dict[str, Any]:
    """One slice for each."""
    of = [[{"model": model, "layer_range": [first, end]}] for model, first, end in spans]
    return {"slices": [{"sources": sources} for sources in of]}


def test_within_slices_it_begins_anew_and_a_single_layer_is_at_its_end() -> None:
    pairs = [((0, 3), (1, 4)), ((3, 4), (0, 1))]
    slices = [
        {"sources": [{"model": m, "layer_range": list(s)} for m, s in zip("ab", pair, strict=True)]}
        for pair in pairs
    ]
    found = shares(SLERP | {"slices": slices}, a=4, b=4)
    assert [found[f"layers.{i}.mlp"] for i in range(4)] == [0, 0.5, 1, 1]
    assert found["embed_tokens"] == found["lm_head"] == 0


def test_filters_meet_the_output_for_shared_parameters() -> None:
    t = [{"filter": "layers.1.", "value": 0.75}, {"value": 0.25}]
    slices = sliced(("a", 2, 4))["slices"]
    slices[0]["sources"].append({"model": "b", "layer_range": [0, 2]})
    found = shares(SLERP | {"slices": slices, "parameters": {"t": t}}, a=4, b=4)
    assert [found[f"layers.{i}.mlp"] for i in (0, 1)] == [0.25, 0.75]


def test_filters_meet_the_source_for_its_own_parameters() -> None:
    scale = [{"filter": "layers.3.mlp", "value": 2}, {"value": 1}]
    recipe = {"merge_method": "passthrough", "parameters": {"scale": scale}}
    found = {
        job.name: job.method.scale
        for job in jobs(recipe | sliced(("a", 2, 4)), a=4)
        if isinstance(job.method, Passthrough)
    }
    assert found["model.layers.1.mlp.weight"] == (2.0,)
    assert found["model.layers.1.attn.weight"] == (1.0,)


def test_what_comes_before_the_layers_is_the_first_slices_what_comes_after_the_last_ones() -> None:
    found = {job.name: job for job in jobs(
        {"merge_method": "passthrough"} | sliced(("a", 0, 3), ("b", 1, 2), ("a", 1, 2)), a=3, b=2
    )}  # fmt: skip
    assert len(found) == 2 + 2 * 5
    origins = {name: job.inputs[0] for name, job in found.items()}
    assert origins["model.embed_tokens.weight"].source.label == "a"
    assert origins["lm_head.weight"].source.label == "a"
    assert origins["model.layers.3.mlp.weight"].source.label == "b"
    assert origins["model.layers.3.mlp.weight"].name == "model.layers.1.mlp.weight"
    swapped = {job.name: job for job in jobs(
        {"merge_method": "passthrough"} | sliced(("a", 0, 3), ("b", 1, 2)), a=3, b=2
    )}  # fmt: skip
    assert swapped["lm_head.weight"].inputs[0].source.label == "b"


def test_a_gradient_of_whole_numbers_that_comes_to_none_is_an_error() -> None:
    recipe = {"merge_method": "karcher", "models": [{"model": "a"}, {"model": "b"}]}
    with pytest.raises(RecipeError, match=r"r.yaml:6: parameters.max_iter: .*integer.* at 0.5 of"):
        list(jobs(recipe | {"parameters": {"max_iter": [5, 10]}}, a=3, b=3))


def test_a_slice_of_layers_that_are_not_there_is_an_error() -> None:
    recipe = {"merge_method": "passthrough"} | sliced(("a", 0, 2), ("a", 1, 5))
    with pytest.raises(RecipeError, match=r"slices.1.sources.0.layer_range: \[1, 5\] of a, which "
                                          "has 4 layers"):  # fmt: skip
        list(jobs(recipe, a=4))
