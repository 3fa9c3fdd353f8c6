"""Recipes, configurations and factors with anything anywhere: they are merged, or refused by an
error of the input. Header bytes have tests of their own."""

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
import yaml
from checkpoints import Folders
from safetensors.torch import load_file, save_file

from weightlens.errors import ModelNotFound, WeightlensError
from weightlens.hub import Peeked
from weightlens.merge.documents import Documents
from weightlens.merge.engine import run_merge
from weightlens.merge.methods import METHODS
from weightlens.merge.preparing import prepare_all
from weightlens.merge.resolution import parse_recipe
from weightlens.merge.template import template

ANYTHING: tuple[Any, ...] = (
    None, True, 0, -1, 2**70, 10**400, 1e300, float("inf"), float("nan"), "", "x", "1e-5", "a+b",
    "é\u2028\0", "2020-01-01", [], [[]], [{}], [None], [1, 2], [2, 0], {}, {"a": 1}, {"value": []},
    [{"filter": "x", "value": 1}], {"path": 1}, {"strip": None}, {"text_config": 1},
    {"quant_method": []}, {"weight_block_size": [0, True]},
)  # fmt: skip
SHAPES: tuple[tuple[int, ...], ...] = (
    (), (0,), (4,), (24,), (4, 24), (24, 4), (0, 24), (24, 0), (4, 40), (4, 24, 1), (1, 1), (4, 32),
)  # fmt: skip
DTYPES = (torch.float32, torch.float16, torch.float64, torch.float8_e4m3fn, torch.int64, torch.bool)
FILLS = (1.0, 0.0, 1e-44, 1e38, float("nan"), float("inf"))


def refused(given: object, attempt: Callable[..., object], *arguments: Any, **options: Any) -> bool:
    """Whether an error of the input comes of it. Fails for any other, naming what led to it."""
    try:
        attempt(*arguments, **options)
    except WeightlensError:
        return True
    except Exception as error:
        raise AssertionError(f"{type(error).__name__} of {given!r}") from error
    return False


def places(node: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield at
    if isinstance(node, dict | list):
        for key in node if isinstance(node, dict) else range(len(node)):
            yield from places(node[key], (*at, key))


def mutate(node: Any, random: Random) -> None:
    """Another value, another key or one key less, somewhere in nested mappings and lists."""
    *above, last = random.choice([at for at in places(node) if at])
    for key in above:
        node = node[key]
    chance, value = random.random(), copy.deepcopy(random.choice(ANYTHING))
    if chance < 0.15 and isinstance(node, dict):
        node[random.choice(["weight", "filter", "value", "strip", None, True, 1])] = value
    elif chance < 0.25:
        del node[last]
    else:
        node[last] = value


SLICED = """\
merge_method: ties
base_model: b
modules:
  a: {models: [{model: {model: {path: x, revision: r}, lora: y}, parameters: {weight: 1}}]}
  b:
    slices:
    - sources: [{model: x, layer_range: [0, 2]}, {model: b, layer_range: [0, 2]}]
      parameters: {weight: [0, 1], density: [{filter: mlp, value: 1}, {value: 0.5}]}
tokenizer: {source: union, tokens: {<a>: {source: x}}, pad_to_multiple_of: 8}
transforms: [{strip: {side: column, energy: 0.5, target: chance}}]
"""


@pytest.mark.parametrize("seed", range(4))
def test_a_recipe_with_anything_anywhere_is_read_or_refused(seed: int) -> None:
    random, outcomes = Random(seed), set[bool]()
    texts = [SLICED, *(template(method) for method in [*METHODS, "strip"])]
    for _ in range(40):
        recipe = yaml.safe_load(random.choice(texts))
        for _ in range(random.choice([1, 1, 2, 3])):
            mutate(recipe, random)
        text = yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True)
        for lenient in (False, True):
            outcomes.add(refused(text, parse_recipe, text, lenient=lenient))
    assert outcomes == {True, False}, "all of one kind: the mutations test nothing"


def recipes(folders: Folders) -> list[str]:
    """Merges in which a base, a fine-tune and an adapter meet in different ways."""
    base, full, adapter = folders.base, folders.full, folders.adapter
    on_base = f"base_model: {base}\nmodels: [{{model: {adapter}, parameters: {{weight: 1}}}}]\n"
    return [
        f"merge_method: task_arithmetic\n{on_base}",
        f"merge_method: task_arithmetic\n{on_base}output: adapter\n",
        f"merge_method: strip\n{on_base}parameters: {{target: chance}}\n",
        f"merge_method: ties\nbase_model: {base}+{adapter}\n"
        f"models: [{{model: {full}, parameters: {{weight: 1}}}}]\n",
        f"merge_method: linear\nmodels: [{{model: {base}+{adapter}}}, {{model: {full}}}]\n"
        "parameters: {weight: 1}\ntokenizer_source: base\nchat_template: auto\n",
        "merge_method: passthrough\nslices:\n"
        f"- sources: [{{model: {base}, layer_range: [0, 1]}}]\n"
        f"- sources: [{{model: {base}+{adapter}+{adapter}, layer_range: [0, 2]}}]\n",
    ]


def plan(text: str) -> None:
    """Of a recipe whose models are folders, and nowhere else."""
    prepare_all(Documents({}, parse_recipe(text)), look=folder)


def folder(term: str) -> Peeked:
    """A model, where it is one."""
    if not Path(term).is_dir():
        raise ModelNotFound(term)
    return Peeked(term, Path(term))


@pytest.mark.parametrize("seed", range(4))
def test_a_recipe_of_models_that_are_there_is_planned_or_refused(
    seed: int, folders: Folders
) -> None:
    random, texts = Random(seed), recipes(folders)
    assert not any(refused(text, plan, text) for text in texts)
    for _ in range(40):
        recipe = yaml.safe_load(random.choice(texts))
        mutate(recipe, random)
        text = yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True)
        refused(text, plan, text)


ADAPTERS = ("lora_alpha", "alpha_pattern", "use_rslora", "fan_in_fan_out", "peft_type",
            "init_lora_weights", "base_model_name_or_path", "layer_replication")  # fmt: skip
CONFIGS = ("model_type", "architectures", "num_hidden_layers", "vocab_size", "layer_types",
           "text_config", "quantization_config", "tie_word_embeddings", "torch_dtype",
           "eos_token_id")  # fmt: skip


@pytest.mark.parametrize("seed", range(4))
def test_configurations_with_anything_in_them_are_gone_by_or_refused(
    seed: int, folders: Folders
) -> None:
    random, texts, outcomes = Random(seed), recipes(folders), set[bool]()
    changed = {
        folders.adapter / "adapter_config.json": ADAPTERS,
        folders.base / "config.json": CONFIGS,
        folders.base / "tokenizer.json": ("model", "added_tokens"),
        folders.base / "tokenizer_config.json": ("chat_template",),
    }
    before = {file: json.loads(file.read_text()) if file.exists() else {} for file in changed}
    for _ in range(12):
        said = {
            file: {random.choice(keys): random.choice(ANYTHING)} for file, keys in changed.items()
        }
        for file, values in said.items():
            file.write_text(json.dumps(before[file] | values))
        for text in texts:
            outcomes.add(refused((text, said), plan, text))
    assert outcomes == {True, False}, "all of one kind: the mutations test nothing"


@pytest.mark.parametrize("seed", range(4))
def test_factors_of_any_shape_and_type_are_merged_or_refused(
    seed: int, folders: Folders, tmp_path: Path
) -> None:
    random, outcomes = Random(seed), set[bool]()
    # mergekit aligns tokens, in a process that takes seconds
    texts = [text for text in recipes(folders) if "tokenizer_source" not in text]
    weights = folders.adapter / "adapter_model.safetensors"
    before = load_file(weights)
    modules = sorted({name.partition(".lora_")[0] for name in before})
    modules.append("base_model.model.lm_head")
    ends = ("lora_A.weight", "lora_B.weight", "lora_magnitude_vector", "weight", "lora_embedding_A")
    for number in range(15):
        name = f"{random.choice(modules)}.{random.choice(ends)}"
        own = tuple(before[name].shape) if name in before else (24,)
        shape, fill = random.choice([own, random.choice(SHAPES)]), random.choice(FILLS)
        made = torch.full(shape, fill).to(random.choice(DTYPES))
        save_file(before | {name: made}, weights)
        text = random.choice(texts)
        given = (text, name, made.dtype, shape, fill)
        out = tmp_path / f"out{number}"
        attempt = parse_recipe(text), out
        outcomes.add(refused(given, run_merge, *attempt, sync=False, workers=1))
    assert outcomes == {True, False}, "all of one kind: the mutations test nothing"
