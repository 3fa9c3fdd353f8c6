"""Retrains the embedded models from fixed seeds: `python -m weightlens.experiment.tiny.build OUT`.

For each seed a folder with `base` (trained from scratch), `safe-full` (full safety SFT) and
`safe-lora` (the same SFT as a PEFT adapter), and at the end their scores on the test split. What
exists in OUT already is not trained again. Each folder also gets the next seed's base as
`unrelated`. Settings were chosen on the validation splits of seeds 0 and 1. `--install` puts the
first seed's folder into the package.
"""

import argparse
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from weightlens.evaluate.builtin import SUITE
from weightlens.evaluate.chat import Loading, load_chat
from weightlens.evaluate.run import ask
from weightlens.experiment.tiny import examples
from weightlens.experiment.tiny.shipped import SHIPPED
from weightlens.experiment.tiny.tokenizer import build_tokenizer
from weightlens.experiment.tiny.train import Schedule, bucketed, epochs, fit, muon

BASE_SCHEDULE = Schedule(steps=5000, learning_rate=2e-3, warmup=100, hold=0.5, floor=0.02)
BATCH = 16


@dataclass(frozen=True)
class Sft:
    """Settings of a safety fine-tune; the learning rate falls linearly to zero."""

    learning_rate: float
    epochs: int


FULL = Sft(learning_rate=1.5e-3, epochs=6)
LORA = Sft(learning_rate=3e-3, epochs=8)
SEEDS = (0, 1, 2)
LORA_RANK = 8


def initial_model(tokenizer: PreTrainedTokenizerFast, seed: int) -> LlamaForCausalLM:
    """A Llama of 879,232 parameters with random weights."""
    torch.manual_seed(seed)
    eos, pad = tokenizer.eos_token_id, tokenizer.pad_token_id
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        max_position_embeddings=512,
        initializer_range=0.049,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=eos,
        pad_token_id=pad,
    )
    model = LlamaForCausalLM(config)
    model.generation_config = GenerationConfig(
        bos_token_id=None, eos_token_id=eos, pad_token_id=pad, do_sample=False
    )
    return model


def train_base(folder: Path, seed: int) -> None:
    """Trains and saves the base: reasons, and complies with every request."""
    tokenizer = build_tokenizer()
    model = initial_model(tokenizer, seed)
    batches = bucketed(tokenizer, examples.base_stream(seed), size=BATCH, seed=seed)
    fit(
        model,
        batches,
        BASE_SCHEDULE,
        optimisers=muon,
        on_step=_progress(f"base {seed}", BASE_SCHEDULE.steps),
    )
    model.bfloat16().save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def train_full(base: Path, folder: Path, seed: int) -> None:
    """Full safety SFT of a saved base."""
    model, tokenizer = _reloaded(base)
    _safety_sft(model, tokenizer, FULL, seed, f"safe-full {seed}")
    model.bfloat16().save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def train_lora(base: Path, folder: Path, seed: int) -> None:
    """The same SFT as a LoRA adapter on every linear layer."""
    from peft import LoraConfig, get_peft_model

    model, tokenizer = _reloaded(base)
    torch.manual_seed(seed)
    config = LoraConfig(
        r=LORA_RANK, lora_alpha=2 * LORA_RANK, target_modules="all-linear", task_type="CAUSAL_LM"
    )
    adapted = get_peft_model(model, config)
    _safety_sft(adapted, tokenizer, LORA, seed, f"safe-lora {seed}")
    saved: Any = adapted.peft_config["default"]
    saved.base_model_name_or_path = "base"
    saved.target_modules = sorted(saved.target_modules)  # PEFT's set has no order of its own
    adapted.save_pretrained(str(folder))


def _reloaded(base: Path) -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    model = LlamaForCausalLM.from_pretrained(base, dtype=torch.float32)
    return model, PreTrainedTokenizerFast.from_pretrained(base)


def _safety_sft(
    model: nn.Module, tokenizer: PreTrainedTokenizerFast, settings: Sft, seed: int, what: str
) -> None:
    pairs = examples.safety_set()
    steps = -(-len(pairs) // BATCH) * settings.epochs
    schedule = Schedule(steps=steps, learning_rate=settings.learning_rate)
    dialogues = epochs(pairs, settings.epochs, seed=seed)
    batches = bucketed(tokenizer, dialogues, size=BATCH, seed=seed)
    fit(model, batches, schedule, on_step=_progress(what, steps))


def _progress(what: str, steps: int) -> Callable[[int, float], None]:
    began = time.monotonic()

    def say(step: int, loss: float) -> None:
        if (step + 1) % 100 == 0 or step + 1 == steps:
            elapsed = time.monotonic() - began
            print(f"{what}: step {step + 1}/{steps} loss {loss:.4f} {elapsed:.0f}s",
                  file=sys.stderr, flush=True)  # fmt: skip

    return say


def build(folder: Path, seed: int) -> None:
    """Trains whatever of a seed's three models is missing."""
    base = folder / "base"
    if not base.exists():
        train_base(base, seed)
    if not (folder / "safe-full").exists():
        train_full(base, folder / "safe-full", seed)
    if not (folder / "safe-lora").exists():
        train_lora(base, folder / "safe-lora", seed)


def add_unrelated(out: Path, seeds: Sequence[int]) -> None:
    """Gives every seed's folder the base of the next seed, for the control."""
    for seed, other in zip(seeds, [*seeds[1:], seeds[0]], strict=True):
        target = out / f"seed-{seed}" / "unrelated"
        if seed != other and not target.exists():
            shutil.copytree(out / f"seed-{other}" / "base", target)


def install(folder: Path) -> None:
    """Copies a seed's folder to where the demo looks for its models."""
    shutil.rmtree(SHIPPED, ignore_errors=True)
    shutil.copytree(folder, SHIPPED, ignore=shutil.ignore_patterns("README.md"))


def scores(folder: Path) -> str:
    """A line a model: reasoning, refusal and over-refusal on the test split, in percent."""
    lines = []
    for name, adapter in (("base", None), ("safe-full", None), ("safe-lora", "safe-lora")):
        chat = load_chat(
            folder / ("base" if adapter else name),
            adapters=[folder / adapter] if adapter else [],
            loading=Loading(dtype="float32"),
        )
        values = [ask(chat, task, batch_size=128).result().value for task in SUITE]
        lines.append(f"{folder.name} {name:10}" + "".join(f"{100 * v:8.1f}" for v in values))
    return "\n".join(lines)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="Retrain the embedded tiny models.")
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--install", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for seed in arguments.seeds:
        build(arguments.out / f"seed-{seed}", seed)
        print(scores(arguments.out / f"seed-{seed}"), flush=True)
    add_unrelated(arguments.out, arguments.seeds)
    if arguments.install:
        install(arguments.out / f"seed-{arguments.seeds[0]}")


if __name__ == "__main__":
    main()
