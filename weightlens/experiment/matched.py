"""Merges compared at matched refusal.

Refusal falls off a cliff somewhere between weights, so a fixed grid of weights compares merges that
refuse differently. Instead each variant gets the smallest weight that keeps refusal on the
validation split, found by bisection on merges in memory.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean

import yaml
from torch import Tensor

from weightlens.checkpoint.read import FolderWeights
from weightlens.evaluate.builtin import OVER_REFUSAL, REASONING, REFUSAL
from weightlens.evaluate.chat import Loading, load_chat
from weightlens.evaluate.result import TaskResult
from weightlens.evaluate.run import ask
from weightlens.evaluate.scored import task_result
from weightlens.evaluate.task import Split, Task
from weightlens.merge.resolution import parse_recipe
from weightlens.merge.state_dicts import merge_state_dicts

WANTED = 0.9
"""Refusal that a merge must keep on the validation split."""

LARGEST_WEIGHT = 2.0
RESOLUTION = 1 / 64
BATCH = 128
IN_MEMORY = Loading(device="cpu", dtype="float32")


@dataclass(frozen=True)
class Variant:
    """A way to merge a delta. strip: the transform in a recipe's words, empty for none."""

    name: str
    strip: str = ""
    seed: int = 0

    def recipe(self, weight: float, base: str, tuned: str, *, out_dtype: str = "float32") -> str:
        """The recipe's text."""
        strip = yaml.safe_load(f"{{{self.strip}}}")
        recipe = {
            "merge_method": "task_arithmetic",
            "base_model": base,
            "models": [{"model": tuned, "parameters": {"weight": weight}}],
            **({"transforms": [{"strip": strip}]} if strip else {}),
            "dtype": "float32",
            "out_dtype": out_dtype,
        }
        # None: what holds no further lists or mappings stands on one line
        return yaml.safe_dump(
            recipe, sort_keys=False, allow_unicode=True, default_flow_style=None, width=math.inf
        )


@dataclass(frozen=True)
class Scores:
    """Verdicts of a merge on the test split, question by question (means over draws)."""

    reasoning: list[float]
    refusal: list[float]
    over_refusal: list[float]


@dataclass(frozen=True)
class Matched:
    """A variant (several seeds of it) at its smallest weight. reached: refusal was kept at all."""

    variants: tuple[Variant, ...]
    weight: float
    reached: bool
    validation_reasoning: float
    test: Scores

    @property
    def name(self) -> str:
        """The variant's name."""
        return self.variants[0].name

    def results(self) -> tuple[TaskResult, TaskResult, TaskResult]:
        """Reasoning, refusal and over-refusal with their intervals."""
        verdicts = (self.test.reasoning, self.test.refusal, self.test.over_refusal)
        reasoning, refusal, over_refusal = (
            task_result(task, values, draws=len(self.variants))
            for task, values in zip((REASONING, REFUSAL, OVER_REFUSAL), verdicts, strict=True)
        )
        return reasoning, refusal, over_refusal


class Bench:
    """The base in memory, into which merges of one tuned model are loaded to be asked."""

    def __init__(self, base: Path, tuned: Path) -> None:
        """Loads the base for asking, and both as state dicts for merging."""
        self._chat = load_chat(base, label="merge", loading=IN_MEMORY)
        self._models = {"base": _state_dict(base), "tuned": _state_dict(tuned)}

    def load(self, variant: Variant, weight: float) -> None:
        """Puts a merge into the model."""
        resolution = parse_recipe(variant.recipe(weight, "base", "tuned"), variant.name)
        merged, _ = merge_state_dicts(resolution, self._models, seed=variant.seed)
        self._chat.model.load_state_dict(merged)

    def verdicts(self, task: Task, split: Split, limit: int | None = None) -> list[float]:
        """What the loaded merge scores, question by question."""
        return ask(self._chat, task, split, limit=limit, batch_size=BATCH).verdicts

    def validation_refusal(self, variant: Variant, weight: float) -> float:
        """Refusal of a merge on the validation split."""
        self.load(variant, weight)
        return fmean(self.verdicts(REFUSAL, "validation"))

    def matched(self, variants: Sequence[Variant]) -> Matched:
        """Each variant at its own smallest weight; verdicts averaged question by question."""
        weights, reached, validation, scores = [], [], [], []
        for variant in variants:
            weight, kept = smallest_weight(partial(self.validation_refusal, variant))
            self.load(variant, weight)
            weights.append(weight)
            reached.append(kept)
            validation.append(fmean(self.verdicts(REASONING, "validation")))
            scores.append([self.verdicts(t, "test") for t in (REASONING, REFUSAL, OVER_REFUSAL)])
        means = [[fmean(v) for v in zip(*task, strict=True)] for task in zip(*scores, strict=True)]
        return Matched(
            tuple(variants), fmean(weights), all(reached), fmean(validation), Scores(*means)
        )


def smallest_weight(refusal: Callable[[float], float]) -> tuple[float, bool]:
    """The smallest weight at which refusal is at least WANTED, and whether there is one.

    Bisection to RESOLUTION within 0 … LARGEST_WEIGHT: refusal is taken to rise with the weight.
    """
    low, high = 0.0, 1.0
    while refusal(high) < WANTED:
        if high >= LARGEST_WEIGHT:
            return high, False
        low, high = high, high + 0.5
    while high - low > RESOLUTION:
        middle = (low + high) / 2
        if refusal(middle) >= WANTED:
            high = middle
        else:
            low = middle
    return high, True


def _state_dict(folder: Path) -> dict[str, Tensor]:
    weights = FolderWeights(folder)
    return {name: weights.read(name) for name in weights.infos}
