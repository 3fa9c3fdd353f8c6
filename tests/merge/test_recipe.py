"""Recipes: what is understood, and what every mistake is answered with."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from weightlens.errors import RecipeError
from weightlens.merge.checking import check_recipe
from weightlens.merge.documents import read_documents
from weightlens.merge.methods.linear import Linear
from weightlens.merge.methods.task_arithmetic import TaskArithmetic
from weightlens.merge.resolution import parse_recipe, read_recipe
from weightlens.merge.state_dicts import merge_state_dicts

HEAD = "merge_method: task_arithmetic\nbase_model: b\n"
MODELS = "models:\n- model: t\n  parameters: {weight: 0.5}\n"
RECIPES = Path(__file__).parents[2] / "recipes"


def test_parameters_of_a_source_win_over_the_shared_ones() -> None:
    text = HEAD + "models:\n- model: t\n- model: u\n  parameters: {weight: 2}\n"
    resolution = parse_recipe(text + "parameters: {weight: 0.5, lambda: 0.3}\n")
    assert resolution.method() == TaskArithmetic(weight=(0.5, 2.0), lambda_=0.3)
    assert resolution.sources == ("t", "u")


def test_a_base_listed_among_the_models_is_ignored() -> None:
    text = HEAD + "models:\n- model: b\n- model: t\n  parameters: {weight: 1}\n"
    resolution = parse_recipe(text)
    assert resolution.sources == ("t",) and not resolution.warnings
    with_weight = text.replace("- model: b\n", "- model: b\n  parameters: {weight: 2}\n")
    assert (
        "r.yaml:5: models.0.parameters: the base's own"
        in parse_recipe(with_weight, "r.yaml").warnings[0]
    )


def test_linear_keeps_a_listed_base() -> None:
    text = (
        "merge_method: linear\nbase_model: b\nparameters: {weight: 1}\nmodels: [{model: b}, "
        "{model: t}]\n"
    )
    assert parse_recipe(text).method() == Linear(weight=(1.0, 1.0))


def test_the_types_read_and_written() -> None:
    resolution = parse_recipe(HEAD + MODELS + "dtype: float32\nout_dtype: bfloat16\n")
    assert resolution.recipe.read_dtype == torch.float32
    assert resolution.recipe.write_dtype == torch.bfloat16
    assert parse_recipe(HEAD + MODELS + "dtype: float16\n").recipe.write_dtype == torch.float16
    assert parse_recipe(HEAD + MODELS).recipe.write_dtype is None


STRIP = "merge_method: strip\nbase_model: b\n" + MODELS


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEAD + "modles: []\n", r"r.yaml:3: modles: unknown key; did you mean .*'models'\?"),
        (
            HEAD + "models:\n- modle: t\n  parameters: {weight: 1}\n",
            r"r.yaml:4: models.0.modle: unknown key; did you mean 'model'\?",
        ),
        (
            HEAD + "models:\n- model: t\n  parameters:\n    wieght: 1\n",
            r"r.yaml:6: models.0.parameters.wieght: unknown key; did you mean 'weight'\?",
        ),
        (
            HEAD + MODELS + "parameters:\n  normalise: true\n",
            r"r.yaml:7: parameters.normalise: unknown key; did you mean 'normalize'\?",
        ),
        (
            HEAD + MODELS + "transforms:\n- strip:\n    side: column\n    stregth: 1\n",
            r"r.yaml:9: transforms.0.strip.stregth: unknown key; did you mean 'strength'\?",
        ),
        (
            HEAD + MODELS + "transforms:\n- strpi: {strength: 1}\n",
            r"r.yaml:7: transforms.0.strpi: unknown key; did you mean 'strip'\?",
        ),
        (
            STRIP + "parameters:\n  strength: 1\n  sied: row\n",
            r"r.yaml:8: parameters.sied: unknown key; did you mean 'side'\?",
        ),
        (
            STRIP + "parameters:\n  strength: 2\n",
            r"r.yaml:7: parameters.strength: Input should be less than or equal to 1",
        ),
        (STRIP, r"exactly one of strength and target"),
        (
            "merge_method: task_arithmetics\nbase_model: b\n" + MODELS,
            r"r.yaml:1: merge_method: 'task_arithmetics' is not known; did you mean "
            r"'task_arithmetic'\?",
        ),
        ("merge_method: task_arithmetic\n" + MODELS, r"needs a base_model"),
        (HEAD + "models:\n- model: t\n", r"r.yaml:4: models.0: no weight"),
        (HEAD + "models: []\n", r"r.yaml:3: models: List should have at least 1 item"),
        (HEAD, r"r.yaml:1: a recipe has exactly one of models, slices and modules"),
        (
            HEAD + "models:\n- model: t\n  parameters: {weight: heavy}\n",
            r"r.yaml:5: models.0.parameters.weight: Input should be a valid number",
        ),
        (
            HEAD + "models:\n- model: t\n  parameters: {weight: 1, normalize: true}\n",
            r"r.yaml:5: models.0.parameters.normalize: belongs into the recipe's own parameters",
        ),
        (HEAD + MODELS + "dtype: float31\n", r"r.yaml:6: dtype: .*'float32'"),
        (HEAD + "merge_method: linear\n" + MODELS, r"r.yaml:3: merge_method: given twice"),
        (HEAD + "models: [\n", r"r.yaml:4: not valid YAML"),
        (HEAD + "a: &a [*a]\n", r"r.yaml: nested too deeply|not valid YAML"),
        ("merge_method: 2001-99-99\n", r"r.yaml: not valid YAML"),
        (
            HEAD + "models:\n- model: t\n  parameters: {weight: [0, [1]]}\n",
            r"r.yaml:5: models.0.parameters.weight.1: must be a number",
        ),
        (HEAD + "models:\n- model: t\n  parameters: {weight: .nan}\n", r"r.yaml:5: .*finite"),
        (
            STRIP + "parameters: {target: chanse}\n",
            r"r.yaml:6: .*target: must be a number or chance",
        ),
        (
            HEAD + MODELS + "tokenizer_source: base\ntokenizer: {source: union}\n",
            r"r.yaml:1: give tokenizer or tokenizer_source, not both",
        ),
        ("merge_method: linear\nbase_model: ''\n" + MODELS, r"r.yaml:2: base_model: .*1 character"),
        ("- a\n- b\n", r"r.yaml:1: a recipe is a mapping"),
        ("", r"r.yaml:1: a recipe is a mapping"),
        (
            "merge_method: linear\nmodels: [{model: a}, {model: b}]\n"
            "parameters: {weight: 1}\ntransforms: [{strip: {strength: 1}}]\n",
            r"r.yaml:4: transforms: linear works on weights",
        ),
        (
            "merge_method: linear\nmodels:\n- {model: a, parameters: {weight: 1}}\n"
            "- {model: b, parameters: {weight: -1}}\n",
            r"sum to zero; set normalize: false",
        ),
    ],
)
def test_mistakes_are_answered_with_file_line_and_remedy(text: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message) as caught:
        parse_recipe(text, "r.yaml")
    assert "\n" not in str(caught.value)


def test_a_recipe_that_cannot_be_read_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="cannot be read"):
        read_recipe(tmp_path / "none.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecipeError, match="cannot be read"):
        read_recipe(tmp_path / "binary.yaml")


every_recipe = pytest.mark.parametrize(
    "file", sorted(RECIPES.glob("*.yaml")), ids=lambda file: file.name
)


@every_recipe
def test_every_recipe_that_comes_with_the_project_is_valid(file: Path) -> None:
    documents = check_recipe(file)
    assert documents.last.sources
    assert not any(r.warnings for r in (*documents.steps.values(), documents.last))


@every_recipe
def test_every_recipe_that_comes_with_the_project_merges_tiny_models(file: Path) -> None:
    """Of 32 layers, without tokenizers; adapters count as models here."""
    documents = read_documents(file)
    models = {}
    for name, resolution in [*documents.steps.items(), ("out", documents.last)]:
        for i, model in enumerate(resolution.recipe.references()):
            models.setdefault(model, tiny(seed=i))
        plain = {"output": "model", "tokenizer_source": None, "tokenizer": None}
        recipe = resolution.recipe.model_copy(update=plain)
        models[name], _ = merge_state_dicts(replace(resolution, recipe=recipe), models)
    written = documents.last.recipe.write_dtype
    assert {tensor.dtype for tensor in models["out"].values()} == {written}
    assert len(models["out"]) >= len(tiny(seed=0))


def tiny(seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    parts = ("self_attn.o_proj", "mlp.down_proj")
    names = [f"model.layers.{i}.{part}.weight" for i in range(32) for part in parts]
    every = ["model.embed_tokens.weight", *names, "lm_head.weight"]
    return {name: torch.randn(4, 4, generator=generator) for name in every}


def test_every_recipe_is_in_the_index() -> None:
    text = (RECIPES / "README.md").read_text()
    assert set(re.findall(r"\((\S+\.yaml)\)", text)) == {f.name for f in RECIPES.glob("*.yaml")}


@pytest.mark.parametrize("short", [False, True])
def test_a_control_that_strips_nothing_is_warned_of(short: bool) -> None:
    """A delta reads chance in a random subspace, which is the target already."""
    models = "base_model: b\nmodels: [{model: a, parameters: {weight: 1}}]\n"
    strip = "{side: row, subspace: random, target: TARGET}"
    text = (
        f"merge_method: strip\n{models}parameters: {strip}\n"
        if short
        else f"merge_method: ties\n{models}transforms: [strip: {strip}]\n"
    )
    (warning,) = parse_recipe(text.replace("TARGET", "chance")).warnings
    where = "parameters.subspace" if short else "transforms.0.strip.subspace"
    assert f"recipe:4: {where}: a delta reads chance" in warning
    assert not parse_recipe(text.replace("TARGET", "0")).warnings
