"""Whole merges of tiny Llamas beside mergekit's: names, shapes, types, config and values.

mergekit 0.1.5 runs all recipes in one process of its own. What both write is bfloat16 and differs
where a float32 sum falls on the other side of a rounding: in at most one entry of ten thousand, by
one unit in the last place.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from known_recipes import RECIPES, SEVERAL, UNEQUAL_SLICES
from safetensors.torch import load_file, save_file
from torch import Tensor

from weightlens.merge.engine import run_merge

LAYERS, HIDDEN, MIDDLE, WORDS = 6, 32, 64, 96
MOST_DIFFERENT = 1e-4
"""Share of all entries of a model."""
ALL = {**RECIPES, "several recipes": SEVERAL, "unequal slices": UNEQUAL_SLICES}

MERGEKIT = """
import json, sys, traceback, yaml
from mergekit.config import MergeConfiguration
from mergekit.merge import run_merge
from mergekit.options import MergeOptions
from mergekit.scripts.multimerge import load_config, make_tasks
from mergekit.graph import Executor

options = MergeOptions(copy_tokenizer=False, write_model_card=False, quiet=True)
for file, out, steps in json.load(sys.stdin):
    text = open(file).read()
    if steps is None:
        run_merge(MergeConfiguration.model_validate(yaml.safe_load(text)), out, options)
    else:
        configs, needed = load_config(text, steps)
        Executor(make_tasks(configs, needed, options, steps, out, True)).execute()
"""


@dataclass(frozen=True)
class Beside:
    """Where the models and mergekit's outputs are."""

    models: dict[str, Path]
    theirs: dict[str, Path]
    folder: Path

    def text(self, recipe: str) -> str:
        """A recipe with folders for the models."""
        return re.sub(r"(?<=model: )(BASE|[A-E])\b", lambda m: str(self.models[m[0]]), recipe)

    def ours(self, name: str) -> Path:
        """The output of our engine."""
        out = self.folder / f"{name}.ours"
        run_merge(self.folder / f"{name}.yaml", out)
        return out


def llama(seed: int) -> dict[str, Tensor]:
    """Continuous weights of a Llama with grouped-query attention, norms included."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        if len(shape) == 1:
            return 1 + 0.1 * torch.randn(shape, generator=generator)
        return torch.randn(shape, generator=generator) * 0.05

    tensors = {"model.embed_tokens.weight": normal(WORDS, HIDDEN)}
    shapes = {
        "self_attn.q_proj": (HIDDEN, HIDDEN),
        "self_attn.k_proj": (HIDDEN // 2, HIDDEN),
        "self_attn.v_proj": (HIDDEN // 2, HIDDEN),
        "self_attn.o_proj": (HIDDEN, HIDDEN),
        "mlp.gate_proj": (MIDDLE, HIDDEN),
        "mlp.up_proj": (MIDDLE, HIDDEN),
        "mlp.down_proj": (HIDDEN, MIDDLE),
        "input_layernorm": (HIDDEN,),
        "post_attention_layernorm": (HIDDEN,),
    }
    for i in range(LAYERS):
        tensors |= {f"model.layers.{i}.{n}.weight": normal(*shape) for n, shape in shapes.items()}
    return tensors | {"model.norm.weight": normal(HIDDEN), "lm_head.weight": normal(WORDS, HIDDEN)}


def tuned(base: dict[str, Tensor], seed: int) -> dict[str, Tensor]:
    """A fine-tune with deltas a tenth as large as the weights."""
    return {name: t + 0.1 * (move - t.ndim % 2) for (name, t), move in
            zip(base.items(), llama(seed).values(), strict=True)}  # fmt: skip


def write(folder: Path, tensors: dict[str, Tensor], dtype: torch.dtype) -> Path:
    from transformers import LlamaConfig

    LlamaConfig(
        architectures=["LlamaForCausalLM"], vocab_size=WORDS, hidden_size=HIDDEN,
        intermediate_size=MIDDLE, num_hidden_layers=LAYERS, num_attention_heads=4,
        num_key_value_heads=2, tie_word_embeddings="lm_head.weight" not in tensors, dtype=dtype,
    ).save_pretrained(folder)  # fmt: skip
    stored = {name: t.to(dtype) for name, t in tensors.items()}
    save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def models_of(folder: Path) -> dict[str, Path]:
    """A base and fine-tunes of it, one stored in bfloat16; and two with tied embeddings."""
    base = llama(0)
    tensors = {"BASE": base, **{name: tuned(base, i) for i, name in enumerate("ABCDE", start=1)}}
    for name in "DE":
        del tensors[name]["lm_head.weight"]
    return {
        name: write(folder / name, t, torch.bfloat16 if name == "C" else torch.float32)
        for name, t in tensors.items()
    }


@pytest.fixture(scope="module")
def beside(tmp_path_factory: pytest.TempPathFactory) -> Beside:
    """Runs mergekit on every recipe."""
    folder = tmp_path_factory.mktemp("against")
    found = Beside(models_of(folder), {name: folder / f"{name}.theirs" for name in ALL}, folder)
    tasks = []
    for name, recipe in ALL.items():
        file = folder / f"{name}.yaml"
        file.write_text(found.text(recipe))
        steps = str(folder / "steps") if recipe == SEVERAL else None
        tasks.append((str(file), str(found.theirs[name]), steps))
    done = subprocess.run(
        [sys.executable, "-c", MERGEKIT], input=json.dumps(tasks), capture_output=True, text=True,
        env=os.environ | {"PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return found


def tensors_of(folder: Path) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for file in sorted(folder.glob("*.safetensors")):
        found |= load_file(file)
    return found


def units(tensor: Tensor) -> Tensor:
    """Numbers of bfloat16 as integers in their order, neighbours one apart."""
    bits = tensor.view(torch.int16).int()
    return torch.where(bits < 0, -(bits & 0x7FFF), bits)


def depth(folder: Path) -> int:
    return int(json.loads((folder / "config.json").read_text())["num_hidden_layers"])


def check_loads(folder: Path) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        logits = model(torch.arange(8).unsqueeze(0)).logits
    assert bool(torch.isfinite(logits).all())
    assert model.config.num_hidden_layers == depth(folder)


def differing(ours: Tensor, theirs: Tensor) -> int:
    """How many entries are a unit in the last place apart; none may be more."""
    assert ours.shape == theirs.shape
    assert ours.dtype == theirs.dtype == torch.bfloat16
    apart = (units(ours) - units(theirs)).abs()
    assert int(apart.max()) <= 1
    return int(apart.count_nonzero())


@pytest.mark.parametrize("name", [name for name in ALL if name != "unequal slices"])
def test_a_merge_is_mergekits(name: str, beside: Beside, measured: Callable[[str], None]) -> None:
    out = beside.ours(name)
    ours, theirs = tensors_of(out), tensors_of(beside.theirs[name])
    assert ours.keys() == theirs.keys()
    different = sum(differing(ours[key], theirs[key]) for key in theirs)
    total = sum(tensor.numel() for tensor in theirs.values())
    measured(f"{name}: {different} of {total} entries differ from mergekit's by one unit")
    assert different <= MOST_DIFFERENT * total
    assert depth(out) == depth(beside.theirs[name])
    check_loads(out)


def test_a_head_of_its_own_is_looked_at(beside: Beside) -> None:
    """mergekit writes it beside a config.json that ties it to the embeddings."""
    name = "a head beside a tied base"
    out = beside.folder / f"{name}.again"
    run_merge(beside.folder / f"{name}.yaml", out)
    theirs, ours = (
        json.loads((folder / "config.json").read_text())["tie_word_embeddings"]
        for folder in (beside.theirs[name], out)
    )
    assert theirs and not ours


def test_what_follows_the_layers_is_merged_of_all_sources_of_the_last_slice(beside: Beside) -> None:
    """Where mergekit takes only as many of them as the first slice has."""
    out = beside.ours("unequal slices")
    ours, theirs = tensors_of(out), tensors_of(beside.theirs["unequal slices"])
    a, b = (tensors_of(beside.models[name]) for name in "AB")
    for name in ("lm_head.weight", "model.norm.weight"):
        assert torch.equal(theirs.pop(name), a[name].bfloat16())
        assert torch.equal(ours.pop(name), ((a[name] + b[name]) / 2).bfloat16())
    assert sum(differing(ours[name], theirs[name]) for name in theirs) <= 6
    check_loads(out)
