"""Our methods in mergekit's registry: its parameters in, our bits out."""

from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoints import llama_tensors, moved
from torch import Tensor

from weightlens.checkpoint.layout import TensorInfo
from weightlens.checkpoint.selection import Selection
from weightlens.delta import Dense
from weightlens.errors import InputError
from weightlens.merge.mergekit_methods import PREFIX, STRIP, register_methods
from weightlens.merge.method import MergeMethod, PerSource, merged
from weightlens.merge.methods import METHODS
from weightlens.merge.streaming import Key
from weightlens.merge.transforms import Strip
from weightlens.merge.transforms.strip import strip
from weightlens.spectral.basis import factorise

MATRIX = "model.layers.0.mlp.up_proj.weight"


def test_every_method_is_registered_once() -> None:
    from mergekit.merge_methods import registered_methods

    assert set(register_methods()) == {f"{PREFIX}{name}" for name in METHODS} | {STRIP}
    assert register_methods() == register_methods()
    assert set(register_methods()) <= {method.spec.name for method in registered_methods()}


def inputs(count: int = 3) -> list[Tensor]:
    base = llama_tensors(0)[MATRIX]
    return [base, *(moved({MATRIX: base}, seed)[MATRIX] for seed in range(1, count))]


def through_mergekit(
    method: str, tensors: list[Tensor], parameters: dict[str, Any], **more: Any
) -> Tensor:
    from mergekit.merge_methods import merge_tensors

    register_methods()
    return merge_tensors(tensors, method, parameters=parameters, **({"name": MATRIX} | more))


def needed(kind: type[MergeMethod]) -> dict[str, float]:
    """Values for the parameters that must be given."""
    return {
        key: 0.3 if key == "t" else 1.0
        for key, field in kind.model_fields.items()
        if field.is_required() or any(isinstance(m, PerSource) and m.needed for m in field.metadata)
    }


@pytest.mark.parametrize("name", METHODS)
def test_each_method_gives_our_own_bits(name: str) -> None:
    kind = METHODS[name]
    tensors = inputs(1 + min(kind.most or 2, 2) if kind.base != "ignored" else (kind.most or 3))
    given = needed(kind)
    base_index = None if kind.base == "ignored" else 0
    found = through_mergekit(f"{PREFIX}{name}", tensors, given, base_index=base_index)
    base, sources = (None, tensors) if base_index is None else (tensors[0], tensors[1:])
    values: dict[str, Any] = {}
    for key, field in kind.model_fields.items():
        each = next((m for m in field.metadata if isinstance(m, PerSource)), None)
        if each is not None:
            values[key] = (given.get(key, each.default),) * len(sources)
        elif key in given:
            values[key] = given[key]
    method = kind.model_validate(values)
    torch.manual_seed(67280421310721)  # torch's own, where nobody has given one
    assert torch.equal(found, merged(method, sources, base, key=Key(0, MATRIX)))


def test_parameters_keep_their_names_scopes_and_defaults() -> None:
    from mergekit.merge_methods import BasePolicy, ParameterScope, get

    register_methods()
    ties = {p.name: p for p in get("weightlens_ties").spec.parameters}
    assert ties["lambda"].default == 1.0 and ties["normalize"].default is True
    assert ties["weight"].required and ties["density"].default == 1.0
    assert ties["weight"].scope is ties["density"].scope is ParameterScope.NON_BASE
    assert ties["lambda"].scope is ParameterScope.SHARED
    linear, slerp = get("weightlens_linear").spec, get("weightlens_slerp").spec
    assert linear.contract.base is BasePolicy.IGNORED
    assert linear.input_parameters[0].scope is ParameterScope.INPUT
    assert slerp.contract.base is BasePolicy.REQUIRED and slerp.contract.max_non_base == 1
    stripping = {p.name for p in get(STRIP).spec.shared_parameters}
    assert stripping == {*Strip.model_fields, "normalize", "lambda"}
    assert [p.name for p in get(STRIP).spec.input_parameters] == ["weight"]


@pytest.mark.parametrize(
    ("name", "parameters", "said"),
    [
        ("weightlens_ties", {"weight": 1, "density": 2}, "density: .* or equal to 1, not 2"),
        (
            "weightlens_della",
            {"weight": 1, "density": 0.5, "epsilon": 0.7},
            "weightlens_della: epsilon 0.7 takes density",
        ),
        (STRIP, {"weight": 1}, "weightlens_strip: give exactly one of strength and target"),
        (STRIP, {"weight": 1, "strength": 1, "rank": 99}, "rank"),
    ],
)  # fmt: skip
def test_complaints_name_the_method_or_the_parameter(
    name: str, parameters: dict[str, Any], said: str
) -> None:
    with pytest.raises((InputError, ValueError), match=said):
        through_mergekit(name, inputs(2), parameters, base_index=0)


def test_draws_follow_mergekits_seed() -> None:
    tensors, given = inputs(2), {"weight": 1.0, "density": 0.5}
    method = METHODS["dare_linear"].model_validate({"weight": (1.0,), "density": (0.5,)})
    for seed, ours in ((5, 5), (0, 0), (67280421310721, 0)):
        torch.manual_seed(seed)
        found = through_mergekit("weightlens_dare_linear", tensors, given, base_index=0)
        assert torch.equal(found, merged(method, tensors[1:], tensors[0], key=Key(ours, MATRIX)))


def test_what_comes_out_has_the_dtype_that_went_in_and_was_made_in_float32() -> None:
    halves = [tensor.bfloat16() for tensor in inputs()]
    found = through_mergekit("weightlens_ties", halves, {"weight": 0.3}, base_index=0)
    method = METHODS["ties"].model_validate({"weight": (0.3, 0.3), "density": (1.0, 1.0)})
    wide = [tensor.float() for tensor in halves]
    assert torch.equal(found, merged(method, wide[1:], wide[0]).bfloat16())


def stripped(base: Tensor, tuned: Tensor, parameters: Strip) -> Tensor:
    """By the transform itself."""
    subspace = factorise(base).rounded().subspace(parameters.size)
    return base + strip(Dense(tuned - base), subspace, parameters).delta.dense()


@pytest.mark.parametrize(
    "parameters",
    [{"target": 0.0}, {"strength": 0.5, "rank": 3, "side": "both"},
     {"target": "chance", "energy": 0.3, "side": "either", "preserve_norm": True}],
)  # fmt: skip
def test_strip_is_our_strip(parameters: dict[str, Any]) -> None:
    base, tuned = inputs(2)
    found = through_mergekit(STRIP, [base, tuned], {"weight": 1.0} | parameters, base_index=0)
    expected = stripped(base, tuned, Strip.model_validate(parameters))
    assert torch.equal(found, expected)
    assert not torch.equal(found, tuned)


def test_strip_sums_weighted_deltas() -> None:
    base, *tuned = inputs()
    given = {"weight": [0.5, 0.25], "lambda": 2.0, "target": 0.0}
    found = through_mergekit(STRIP, [base, *tuned], given, base_index=0)
    parts = [stripped(base, t, Strip(target=0.0)) - base for t in tuned]
    torch.testing.assert_close(found, base + parts[0] + 0.5 * parts[1])


@pytest.mark.parametrize(
    "name", ["model.embed_tokens.weight", "lm_head.weight", "model.norm.weight"]
)
def test_strip_leaves_alone_what_our_engine_does(name: str) -> None:
    base = llama_tensors(0)[name]
    info = TensorInfo(tuple(base.shape), base.dtype)
    assert Selection().reason_to_skip(name, info) is not None
    given = {"weight": 1.0, "strength": 1.0}
    found = through_mergekit(STRIP, [base, base + 1], given, base_index=0, name=name)
    assert torch.equal(found, base + ((base + 1) - base))


def test_a_stack_of_matrices_is_stripped_one_by_one() -> None:
    name = "model.layers.0.mlp.experts.gate_up_proj"
    pairs = [inputs(2), [tensor * 2 for tensor in inputs(2)]]
    stacks = [torch.stack(tensors) for tensors in zip(*pairs, strict=True)]
    given = {"weight": 1.0, "target": 0.0}
    found = through_mergekit(STRIP, stacks, given, base_index=0, name=name)
    for one, (base, tuned) in zip(found, pairs, strict=True):
        assert torch.equal(one, stripped(base, tuned, Strip(target=0.0)))


def test_matrices_stored_the_other_way_are_turned_by_the_bases_config(tmp_path: Path) -> None:
    from mergekit.common import ModelReference

    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    ids = [ModelReference.parse(str(tmp_path)), ModelReference.parse("tuned")]
    base, tuned = inputs(2)
    found = through_mergekit(
        STRIP,
        [base.T.contiguous(), tuned.T.contiguous()],
        {"weight": 1.0, "target": 0.0},
        base_index=0,
        ids=ids,
        name="transformer.h.0.mlp.c_fc.weight",
    )
    assert torch.equal(found.T, stripped(base, tuned, Strip(target=0.0)))
