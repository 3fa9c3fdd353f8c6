"""Where weightlens differs from mergekit 0.1.5 on purpose, each shown on mergekit itself; told in
docs/mergekit.md."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkpoints import llama_tensors, moved, write_model
from fine_tunes import Family, family, vector
from mergekit.merge_methods import merge_tensors
from parity import difference
from torch import Tensor

from weightlens import merge_state_dicts, parse_recipe
from weightlens.merge.method import merged
from weightlens.merge.methods import METHODS
from weightlens.merge.streaming import Key

WEIGHTS = (0.3, 0.9)


def ours(name: str, of: Family, key: Key | None = None, **parameters: Any) -> Tensor:
    method = METHODS[name].model_validate(parameters)
    return merged(method, of.tuned, None if method.base == "ignored" else of.base, key=key)


def theirs(name: str, of: Family, **parameters: Any) -> Tensor:
    based = METHODS[name].base != "ignored"
    return merge_tensors(
        [of.base, *of.tuned] if based else of.tuned, name,
        parameters={k: list(v) if isinstance(v, tuple) else v for k, v in parameters.items()},
        base_index=0 if based else None,
    )  # fmt: skip


# 1. The delta of two bfloat16 numbers has up to 16 bits, its product with 0.3 more; bfloat16 has 8.
def test_mergekit_adds_deltas_in_the_dtype_of_the_inputs() -> None:
    wide = family((200, 300), 2)
    short = Family(wide.base.bfloat16(), [t.bfloat16() for t in wide.tuned])
    read = Family(short.base.float(), [t.float() for t in short.tuned])
    result = ours("task_arithmetic", read, weight=WEIGHTS)
    as_stored = difference(theirs("task_arithmetic", short, weight=WEIGHTS), result)
    assert as_stored.differing > 0.02 * as_stored.entries
    at_float32 = difference(theirs("task_arithmetic", read, weight=WEIGHTS), result)
    assert at_float32.differing <= 1e-4 * at_float32.entries


# 2. A set of eight names comes in an order of its own, whichever was listed first.
def test_mergekit_takes_its_models_out_of_a_set() -> None:
    from mergekit.config import MergeConfiguration

    names = [f"model{i}" for i in range(8)]
    firsts = []
    for i in range(8):
        listed = [{"model": name} for name in names[i:] + names[:i]]
        recipe = MergeConfiguration.model_validate({"merge_method": "linear", "models": listed})
        firsts.append(str(recipe.referenced_models()[0]) == names[i])
    assert not all(firsts)


def test_weightlens_takes_the_first_model_listed() -> None:
    for names in (["a", "b"], ["b", "a"]):
        listed = [{"model": name, "parameters": {"weight": 1}} for name in names]
        resolution = parse_recipe(json.dumps({"merge_method": "linear", "models": listed}))
        assert list(resolution.sources) == names


# 3. Weights 1 and −1 sum to 0.
def test_a_zero_sum_of_weights_is_infinite_or_passed_over_in_mergekit() -> None:
    of, opposite = Family(vector(0), [vector(3), vector(1)]), (1.0, -1.0)
    assert not theirs("linear", of, weight=opposite).isfinite().all()
    assert not theirs("multislerp", of, weight=opposite).isfinite().all()
    undivided = theirs("task_arithmetic", of, weight=opposite, normalize=True)
    assert undivided.tolist() == [2]
    for name in ("linear", "multislerp", "task_arithmetic"):
        more = {"normalize": True} if name == "task_arithmetic" else {}
        with pytest.raises(ValueError, match="sum to zero"):
            ours(name, of, weight=opposite, **more)


def test_sparse_methods_do_not_divide_by_a_zero_sum_in_either() -> None:
    of = Family(vector(0), [vector(3), vector(1)])
    same = {"weight": (1.0, -1.0), "density": (1.0, 1.0), "gamma": (0.0, 0.0), "normalize": True}
    assert ours("breadcrumbs", of, **same).tolist() == [2]
    assert theirs("breadcrumbs", of, **same).tolist() == [2]


# 4. One model below, two above: the norm and the head after the layers are the mean of two.
def test_mergekit_leaves_out_models_after_slices_of_unequal_numbers(tmp_path: Path) -> None:
    base, tuned = llama_tensors(0), moved(llama_tensors(0), 1)
    folders = {"a": write_model(tmp_path / "a", base), "b": write_model(tmp_path / "b", tuned)}
    for name in ("model.norm.weight", "lm_head.weight"):
        assert planned_by_mergekit(sliced({n: str(f) for n, f in folders.items()}))[name] == 1
        recipe = parse_recipe(json.dumps(sliced({"a": "a", "b": "b"})))
        result, _ = merge_state_dicts(recipe, {"a": base, "b": tuned})
        assert torch.allclose(result[name], (base[name] + tuned[name]) / 2)


def sliced(names: dict[str, str]) -> dict[str, Any]:
    def layer(of: str, i: int) -> dict[str, Any]:
        return {"model": names[of], "layer_range": [i, i + 1], "parameters": {"weight": 1.0}}

    slices = [{"sources": [layer("a", 0)]}, {"sources": [layer("a", 1), layer("b", 1)]}]
    return {"merge_method": "linear", "slices": slices, "dtype": "float32"}


def planned_by_mergekit(recipe: dict[str, Any]) -> dict[str, int]:
    """How many models go into each tensor."""
    from mergekit.architecture import get_architecture_info
    from mergekit.config import MergeConfiguration
    from mergekit.merge import _model_out_config
    from mergekit.options import MergeOptions
    from mergekit.plan import MergePlanner

    options, read = MergeOptions(quiet=True), MergeConfiguration.model_validate(recipe)
    kind = get_architecture_info(read, options)
    planner = MergePlanner(read, kind, options, _model_out_config(read, kind))
    return {
        task.tensor_name: len(task.tensor_task.gather_tensors.weight_info)
        for task in planner.plan_to_disk("nowhere")
        if hasattr(task, "tensor_name")
    }


# 5. Both keep n · density entries, with the sd √(n d (1 − d)); the draws are others.
@pytest.mark.parametrize("name", ["dare_linear", "della_linear"])
def test_random_methods_keep_as_many_by_other_draws(name: str) -> None:
    of, density, n = family((300, 200), 1), 0.3, 60_000
    more = {"epsilon": (0.1,)} if name == "della_linear" else {}
    torch.manual_seed(0)
    own = ours(name, of, weight=(1.0,), density=(density,), **more) != of.base
    other = theirs(name, of, weight=(1.0,), density=(density,), **more) != of.base
    for kept in (own, other):
        assert abs(int(kept.sum()) - n * density) < 5 * math.sqrt(n * density * (1 - density))
    assert not torch.equal(own, other)


def test_draws_of_mergekit_depend_on_what_was_drawn_before_and_ours_do_not() -> None:
    of, half = family((30, 20), 1), {"weight": (1.0,), "density": (0.5,)}
    torch.manual_seed(0)
    their_first, their_second = (theirs("dare_linear", of, **half) for _ in range(2))
    assert not torch.equal(their_first, their_second)
    first, second = (ours("dare_linear", of, Key(0, "q_proj"), **half) for _ in range(2))
    assert torch.equal(first, second)


# 6. Of 1,100,000 entries mergekit draws 1,000,000 for the quartiles, ours are those of all.
def test_arcee_fusion_of_a_large_tensor_is_a_matter_of_chance_in_mergekit() -> None:
    of = family((1100, 1000), 1)
    torch.manual_seed(0)
    first, second = (theirs("arcee_fusion", of) for _ in range(2))
    assert not torch.equal(first, second)
    assert torch.equal(ours("arcee_fusion", of, Key(1)), ours("arcee_fusion", of, Key(2)))


# 7. 5,000 of 10,000 equal sizes: ours the first half, mergekit's whatever its sort makes of them.
def test_of_equal_sizes_mergekit_keeps_what_its_sort_leaves_in_front() -> None:
    of = Family(torch.zeros(10_000), [torch.ones(10_000)])
    own, other = (
        (merge("ties", of, weight=(1.0,), density=(0.5,)) != 0).numpy() for merge in (ours, theirs)
    )
    assert own.sum() == other.sum() == 5000
    assert np.flatnonzero(own).tolist() == list(range(5000))
    assert not np.array_equal(own, other)


# 8.
@pytest.mark.parametrize("merge", [ours, theirs])
def test_int8_mask_changes_no_number(merge: Any) -> None:
    of, same = family((40, 50), 2), {"weight": WEIGHTS, "density": (0.4, 0.6)}
    plain = merge("ties", of, **same)
    assert torch.equal(merge("ties", of, **same, int8_mask=True), plain)
    assert torch.equal(merge("sce", of, int8_mask=True), merge("sce", of))


# 9. A row of one entry has the rank 0/0 in mergekit, and so has every entry whose second axis has
# one place, as in a depthwise convolution's weights.
@pytest.mark.parametrize("shape", [(6, 1), (6, 1, 4)], ids=str)
def test_della_of_a_second_axis_of_one_fails_in_mergekit(shape: tuple[int, ...]) -> None:
    of = family(shape, 1)
    same = {"weight": (1.0,), "density": (0.5,), "epsilon": (0.1,)}
    with pytest.raises(RuntimeError):
        theirs("della", of, **same)
    assert ours("della", of, **same).isfinite().all()


# 10. A tensor that no fine-tune touched has deltas without a direction.
def test_multislerp_of_deltas_of_zero_fails_in_mergekit_and_is_the_base_here() -> None:
    base = vector(1, 2)
    of, weights = Family(base, [base, base, base]), (0.2, 0.3, 0.5)
    with pytest.raises(ValueError, match="weighted sum"):
        theirs("multislerp", of, weight=weights)
    assert torch.equal(ours("multislerp", of, weight=weights), base)


# 11. 0.7 x − 0.3 x = 0.4 x; in float32 the cosine of opposite vectors is seldom −1 to the bit.
def test_nuslerp_of_opposite_tensors_is_a_matter_of_rounding_in_mergekit() -> None:
    errors = []
    for seed in range(10):
        source = family((50, 70), 1, seed=seed).base
        of = Family(torch.zeros_like(source), [source, -source])
        assert torch.allclose(
            ours("nuslerp", of, weight=(0.7, 0.3)), 0.4 * source, rtol=1e-5, atol=1e-9
        )
        found = theirs("nuslerp", of, weight=(0.7, 0.3))
        errors.append(float((found - 0.4 * source).norm() / source.norm()))
    assert max(errors) > 0.1


# 12. 0.3/1.2 and 0.9/1.2 are 1/4 and 3/4: sums of bfloat16 numbers that float32 holds exactly, but
# 0.3 a + 0.9 b it does not.
def test_linear_of_bfloat16_differs_only_where_the_mean_is_half_way() -> None:
    of = family((200, 300), 2)
    read = Family(of.base, [t.bfloat16().float() for t in of.tuned])
    own, other = (merge("linear", read, weight=WEIGHTS).bfloat16() for merge in (ours, theirs))
    mean = 0.25 * read.tuned[0].double() + 0.75 * read.tuned[1].double()
    differ = (own != other) & (mean != 0)
    assert int(differ.sum()) > 0.01 * differ.numel()
    assert torch.equal((own.double() + other.double())[differ] / 2, mean[differ])
