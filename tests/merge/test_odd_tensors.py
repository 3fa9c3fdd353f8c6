"""Tensors and layers that a plan cannot go by are told of before any is read."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from checkpoints import llama_tensors, moved, write_adapter, write_model
from torch import Tensor
from worded import added, linear, worded, words

from weightlens.errors import RecipeError, ShapeMismatch, UnsupportedTensor
from weightlens.merge.engine import run_merge
from weightlens.merge.foresight import plan_merge

UP, HEAD = "model.layers.0.mlp.up_proj.weight", "lm_head.weight"
Tensors = dict[str, Tensor]


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A base and a fine-tune."""
    write_model(tmp_path / "base", llama_tensors(0))
    write_model(tmp_path / "tuned", moved(llama_tensors(0), 1))
    return tmp_path


def written(folder: Path, text: str) -> Path:
    (folder / "recipe.yaml").write_text(text)
    return folder / "recipe.yaml"


def shrunk(tensors: Tensors) -> Tensors:
    return {**tensors, UP: tensors[UP].to(torch.float8_e4m3fn)}


@pytest.mark.parametrize("settings", [{}, {"dtype": "bfloat16"}])
@pytest.mark.parametrize("names", [("tuned",), ("base",), ("base", "tuned")])
def test_8_bit_floats_without_scales_are_refused_whatever_is_beside_them(
    models: Path, names: tuple[str, ...], settings: dict[str, str]
) -> None:
    for name in names:
        seed = ("base", "tuned").index(name)
        write_model(models / name, shrunk(moved(llama_tensors(0), seed)))
    recipe = written(models, added(models / "base", models / "tuned", **settings))
    with pytest.raises(UnsupportedTensor, match=rf"{names[0]}: {UP} is torch.float8_e4m3fn and"):
        plan_merge(recipe)


def test_the_base_of_an_adapter_that_is_written_may_have_them(models: Path) -> None:
    """Its weights are not read."""
    write_model(models / "base", shrunk(llama_tensors(0)))
    write_adapter(models / "lora", llama_tensors(0))
    text = added(models / "base", models / "lora", output="adapter")
    assert run_merge(written(models, text), models / "out").tensors


@pytest.mark.parametrize("name", [HEAD, "lm_head.bias"])
def test_a_number_is_no_embedding_whose_rows_differ(models: Path, name: str) -> None:
    for folder, shape in (("base", ()), ("tuned", (5,))):
        write_model(models / folder, llama_tensors(0) | {name: torch.ones(shape)})
    text = added(models / "base", models / "tuned", embeddings="common")
    with pytest.raises(ShapeMismatch, match=f"{name} is 5 in .*tuned but a number in .*base"):
        plan_merge(written(models, text))


def test_embeddings_of_another_width_are_refused_where_a_tokenizer_gives_the_rows(
    tmp_path: Path,
) -> None:
    one, two = (worded(tmp_path / name, seed, words(32)) for seed, name in enumerate("ab"))
    write_model(two, llama_tensors(0) | {HEAD: torch.ones(32, 7)})
    text = linear(one, two, tokenizer_source="base")
    with pytest.raises(ShapeMismatch, match=f"{HEAD} is 32 x 7 in .*b but 32 x 24 in .*a"):
        plan_merge(written(tmp_path, text))


def numbered(*numbers: int) -> Callable[[Path], None]:
    """The two layers of the base under other numbers."""

    def write(models: Path) -> None:
        tensors = {
            name.replace(".layers.0.", ".layers.A.").replace(".layers.1.", ".layers.B."): tensor
            for name, tensor in llama_tensors(0).items()
        }
        for letter, number in zip("AB", numbers, strict=True):
            tensors = {n.replace(f".{letter}.", f".{number}."): t for n, t in tensors.items()}
        write_model(models / "base", tensors)

    return write


@pytest.mark.parametrize(
    ("number", "taken", "said"),
    [
        (numbered(0, 3), [0, 2], "no layer 1"),
        (numbered(2, 3), [0, 2], "no layer 0"),
        (numbered(0, 3), [3, 5], "no layer 4"),
        (numbered(0, 1), [0, 3], "2 layers"),
        (numbered(0, 1), [0, 2**70], "2 layers"),
        (numbered(0, 1), [2**70, 2**71], "2 layers"),
    ],
)
def test_layers_are_taken_by_their_numbers(
    models: Path, number: Callable[[Path], None], taken: list[int], said: str
) -> None:
    number(models)
    sources = [{"model": str(models / "base"), "layer_range": taken}]
    recipe = {"merge_method": "passthrough", "slices": [{"sources": sources}]}
    with pytest.raises(RecipeError, match=rf"layer_range: \[.*\] of .*base, which has {said}"):
        plan_merge(written(models, json.dumps(recipe)))


def test_layers_with_other_numbers_can_be_taken(models: Path) -> None:
    numbered(2, 3)(models)
    sources = [{"model": str(models / "base"), "layer_range": [2, 4]}]
    recipe = {"merge_method": "passthrough", "slices": [{"sources": sources}]}
    (plan,) = plan_merge(written(models, json.dumps(recipe)))
    assert plan.tensors == len(llama_tensors(0))
