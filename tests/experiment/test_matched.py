"""Matching refusal by bisection, and merges in memory against merges on disk."""

from pathlib import Path

import pytest
import torch

from weightlens.evaluate.builtin import REFUSAL
from weightlens.experiment.demo import RANDOM_STRIPS, SCALING, STRIPS
from weightlens.experiment.matched import RESOLUTION, Bench, Variant, smallest_weight
from weightlens.experiment.tiny.shipped import SHIPPED
from weightlens.merge.engine import run_merge
from weightlens.merge.resolution import parse_recipe


@pytest.mark.parametrize("cliff", [0.01, 0.3, 0.7321, 0.99, 1.2, 1.9])
def test_bisection_finds_the_cliff_from_above(cliff: float) -> None:
    weight, reached = smallest_weight(lambda w: 1.0 if w >= cliff else 0.2)
    assert reached
    assert cliff <= weight < cliff + RESOLUTION


def test_a_refusal_that_never_comes_is_told() -> None:
    assert smallest_weight(lambda w: 0.5) == (2.0, False)


@pytest.mark.parametrize("variant", [SCALING, *STRIPS], ids=lambda v: v.name)
def test_recipes_of_the_demo_say_what_they_mean(variant: Variant) -> None:
    resolution = parse_recipe(variant.recipe(0.671875, "b", "t", out_dtype="bfloat16"))
    assert resolution.method().weight == (0.671875,)  # type: ignore[attr-defined]
    assert [t.side for t in resolution.transforms] == variant.name.split()[1:2] * bool(
        variant.strip
    )


@pytest.mark.parametrize("variant", [SCALING, *STRIPS, RANDOM_STRIPS[0][1]], ids=lambda v: v.name)
def test_a_recipe_names_folders_as_they_are_called(variant: Variant) -> None:
    for folder in ("my: demo", "a # b", "'q", "{x}", "- x", "~", "1.0", "Größe " * 20):
        resolution = parse_recipe(variant.recipe(1 / 3, f"{folder}/base", folder))
        (group,) = resolution.groups
        assert group.base is not None
        assert group.base.model == f"{folder}/base"
        assert resolution.sources == (folder,)


def test_the_bench_asks_the_merge_that_the_engine_writes(tmp_path: Path) -> None:
    base, full = SHIPPED / "base", SHIPPED / "safe-full"
    bench = Bench(base, full)
    bench.load(STRIPS[0], 0.75)
    recipe = parse_recipe(STRIPS[0].recipe(0.75, str(base), str(full)))
    run_merge(recipe, tmp_path / "out")
    from weightlens.checkpoint.read import FolderWeights

    written = FolderWeights(tmp_path / "out")
    for name, tensor in bench._chat.model.state_dict().items():
        assert torch.equal(tensor, written.read(name)), name


def test_weight_0_never_refuses_and_weight_1_does() -> None:
    bench = Bench(SHIPPED / "base", SHIPPED / "safe-full")
    bench.load(SCALING, 0.0)
    assert sum(bench.verdicts(REFUSAL, "validation", 20)) == 0
    bench.load(SCALING, 1.0)
    assert sum(bench.verdicts(REFUSAL, "validation", 20)) >= 18
