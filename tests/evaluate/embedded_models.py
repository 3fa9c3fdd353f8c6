"""The embedded models as the evaluator's tests ask them: settings, questions, answers."""

import shutil
from pathlib import Path

import torch

from weightlens.evaluate.asked_model import Settings
from weightlens.evaluate.backends.backend import Prompt
from weightlens.evaluate.builtin import REASONING
from weightlens.evaluate.chat import Chat, Loading
from weightlens.evaluate.chosen import Changes, Wanted
from weightlens.evaluate.plan import Ask
from weightlens.evaluate.result import Draw, EvalReport
from weightlens.evaluate.task import Sampling
from weightlens.experiment.tiny.shipped import SHIPPED

EXACT = Loading(device="cpu", dtype="float32")
BASE, FULL = str(SHIPPED / "base"), str(SHIPPED / "safe-full")
LORA = f"{BASE}+{SHIPPED / 'safe-lora'}"
SMALL = Settings(batch_size=4, loading=EXACT)


def wanted(limit: int = 12, **changes: float) -> Wanted:
    return Wanted(tasks=("reasoning",), changes=Changes(limit=limit, **changes))


def draws(folder: Path, model: str) -> list[Draw]:
    report = EvalReport.model_validate_json((folder / "eval.json").read_text())
    (file,) = (entry.file for entry in report.answers if entry.model == model)
    lines = (folder / file).read_text().splitlines()
    return [Draw.model_validate_json(line) for line in lines]


GREEDY = Sampling(max_new_tokens=80)
DRAWN = Sampling(max_new_tokens=80, temperature=5.0, top_p=0.99)
"""Hot: the model is sure of what it says."""


def prompts(chat: Chat, count: int) -> list[Prompt]:
    """Questions of mixed length, with a seed each."""
    return [
        Prompt(tuple(chat.words.encode(chat.render(q.prompt))), seed)
        for seed, q in enumerate(REASONING.questions("validation", count))
    ]


def adapter_copy(out: Path, *, scale: float, **tensors: torch.Tensor) -> Path:
    """safe-lora with its delta times `scale`, and further tensors."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(SHIPPED / "safe-lora", out)
    file = out / "adapter_model.safetensors"
    factors = {n: t * scale if "lora_B" in n else t for n, t in load_file(file).items()}
    save_file(factors | tensors, file, metadata={"format": "pt"})
    return out


def draw(ask: Ask, answer: str = "42", verdict: float = 1.0) -> Draw:
    return Draw(
        question=ask.question, draw=ask.draw, seed=7, group="", prompt="?", raw=answer,
        answer=answer, reference="42", extracted=answer, outcome="", verdict=verdict,
        finish="stop", tokens=3, degenerate="",
    )  # fmt: skip
