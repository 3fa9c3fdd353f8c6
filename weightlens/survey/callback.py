"""Overlap while training: a callback for transformers' Trainer.

    trainer = Trainer(..., callbacks=[OverlapCallback()])

At every log the weights are measured against those that training began with. LoRA models are
measured with their adapters applied. The weights that training began with are factorised at the
first log and kept in a temporary folder until training ends.
"""

import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from weightlens.checkpoint.model import Model
from weightlens.checkpoint.read import MemoryWeights
from weightlens.checkpoint.selection import Selection
from weightlens.errors import UnsupportedTensor
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
        self._base: Model | None = None
        self._kept: tempfile.TemporaryDirectory[str] | None = None

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """Keeps a copy of the weights that training begins with.

        Raises UnsupportedTensor for packed weights and for DoRA, whose deltas are not B A.
        """
        self._base = as_model(kwargs["model"], adapted=False)
        self._kept = tempfile.TemporaryDirectory(prefix="weightlens-")

    def on_train_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """Drops the copy and its factorisations; the reports stay."""
        self._base = None
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
        if self._kept is None or self._base is None:  # a log outside of training
            return
        report = measure_overlap(
            self._base,
            [as_model(kwargs["model"], adapted=True)],
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


def as_model(model: nn.Module, *, adapted: bool) -> Model:
    """A copy of a model's weights, with what its configuration says of their orientation."""
    config: Any = getattr(model, "config", None)
    described = config.to_dict() if hasattr(config, "to_dict") else {}
    weights = {name: tensor.clone() for name, tensor in weights_of(model, adapted=adapted).items()}
    return Model("state dict", MemoryWeights(weights, "state dict", config=described))


def weights_of(model: nn.Module, *, adapted: bool) -> dict[str, Tensor]:
    """A model's weights by the names of its checkpoint, on the CPU in float32.

    adapted: with LoRA deltas added to the matrices they belong to, or without them. Raises
    UnsupportedTensor for packed weights and for DoRA.
    """
    weights: dict[str, Tensor] = {}
    for name, parameter in model.named_parameters():
        if ".lora_" in name:
            continue
        if not parameter.is_floating_point():
            raise UnsupportedTensor(
                f"{name} is packed ({parameter.dtype}): no overlap while training"
            )
        plain = name.removeprefix("base_model.model.").replace(".base_layer.", ".")
        weights[plain] = parameter.detach().float().cpu()
    for name, module in model.named_modules():
        if hasattr(module, "lora_A") and hasattr(module, "get_delta_weight"):
            adapters = _adapters_of(name, module)
            if adapted and adapters:
                plain = name.removeprefix("base_model.model.") + ".weight"
                with torch.no_grad():
                    deltas = [module.get_delta_weight(adapter) for adapter in adapters]
                weights[plain] = weights[plain] + sum(d.detach().float().cpu() for d in deltas)
    return weights


def _adapters_of(name: str, module: Any) -> list[str]:
    """The active adapters that a module has factors of."""
    if len(getattr(module, "lora_magnitude_vector", {})):
        raise UnsupportedTensor(f"{name} is trained with DoRA: no overlap while training")
    known = {*module.lora_A, *getattr(module, "lora_embedding_A", {})}
    return [adapter for adapter in module.active_adapters if adapter in known]
