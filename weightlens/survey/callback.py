"""Overlap while training: a callback for transformers' Trainer.

    trainer = Trainer(..., callbacks=[OverlapCallback()])

At every log the weights are measured against those that training began with. LoRA models are
measured with their adapters applied. The weights that training began with are factorised at the
first log and kept in a temporary folder (about half their size in bfloat16) until training ends.
"""

import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from weightlens.checkpoint.selection import Selection
from weightlens.factors import FactorCache
from weightlens.spectral.rank import SubspaceSize
from weightlens.survey.overlap import measure_overlap
from weightlens.survey.result import OverlapReport

LOGGED = ("column_over_chance", "row_over_chance", "both_over_chance", "delta_norm")
"""The means that go into the trainer's logs, each as `overlap/NAME`."""


class OverlapCallback(TrainerCallback):
    """Logs the means over all matrices; `reports` keeps the whole report of every step."""

    def __init__(
        self,
        *,
        size: SubspaceSize = SubspaceSize(),  # noqa: B008 (immutable)
        selection: Selection = Selection(),  # noqa: B008 (immutable)
    ) -> None:
        """size: of the base's subspaces; selection: which tensors to measure."""
        self.size, self.selection = size, selection
        self.reports: dict[int, OverlapReport] = {}
        self._base: dict[str, Tensor] = {}
        self._kept: tempfile.TemporaryDirectory[str] | None = None

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """Keeps a copy of the weights that training begins with."""
        self._base = {n: t.clone() for n, t in weights_of(kwargs["model"], adapted=False).items()}
        self._kept = tempfile.TemporaryDirectory(prefix="weightlens-")

    def on_train_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """Drops the copy and its factorisations; the reports stay."""
        self._base = {}
        if self._kept is not None:
            self._kept.cleanup()
            self._kept = None

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """Measures, and adds the means to the log of this step."""
        if self._kept is None:  # the last log comes after the end
            return
        report = measure_overlap(
            self._base,
            [weights_of(kwargs["model"], adapted=True)],
            size=self.size,
            selection=self.selection,
            cache=FactorCache(Path(self._kept.name)),
        )
        self.reports[state.global_step] = report
        mean = report.models[0].summary.all
        found = {f"overlap/{name}": getattr(mean, name) for name in LOGGED}
        (kwargs.get("logs") or {}).update(found)
        if state.log_history:  # the trainer has filed this step's log already
            state.log_history[-1].update(found)


def weights_of(model: nn.Module, *, adapted: bool) -> dict[str, Tensor]:
    """A model's weights by the names of its checkpoint, on the CPU in float32.

    adapted: with LoRA deltas added to the matrices they belong to, or without them.
    """
    weights: dict[str, Tensor] = {}
    for name, parameter in model.named_parameters():
        if ".lora_" in name:
            continue
        plain = name.removeprefix("base_model.model.").replace(".base_layer.", ".")
        weights[plain] = parameter.detach().float().cpu()
    if adapted:
        for name, module in model.named_modules():
            if hasattr(module, "lora_A") and hasattr(module, "get_delta_weight"):
                plain = name.removeprefix("base_model.model.") + ".weight"
                with torch.no_grad():
                    deltas = [module.get_delta_weight(a) for a in module.active_adapters]
                weights[plain] = weights[plain] + sum(d.detach().float().cpu() for d in deltas)
    return weights
