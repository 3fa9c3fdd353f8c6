"""The delta of a fine-tune as a LoRA adapter: each matrix by the nearest one of low rank.

Matrix by matrix: delta, factors, file; what is in memory does not grow with the model. What an
adapter cannot hold is left out, measured and named.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from weightlens.checkpoint.adapter_names import module_of
from weightlens.checkpoint.adapter_write import AdapterWriter
from weightlens.checkpoint.model import AppliedWeights, Model, base_weights, open_model
from weightlens.checkpoint.names import place_of
from weightlens.checkpoint.output import check_output
from weightlens.checkpoint.partial import settle
from weightlens.checkpoint.selection import Selection
from weightlens.checkpoint.weights import Weights, all_finite
from weightlens.delta import Delta, Dense
from weightlens.device import CPU, exact_arithmetic, named_device
from weightlens.errors import InputError, NonFiniteTensor
from weightlens.hub import resolve
from weightlens.merge.extract_plan import ExtractPlan, make_extract_plan
from weightlens.merge.extract_record import (
    ExtractedMatrix,
    ExtractReport,
    ExtractSettings,
    LeftOut,
    TruncationChoice,
    WholeTensor,
    totals_of,
)
from weightlens.merge.provenance import peft_base, source_record
from weightlens.merge.record import SourceRecord
from weightlens.spectral.lowrank import Truncation, truncated
from weightlens.version import VERSION

Progress = Callable[[int, int, str], None]
"""Told the tensors done, their total, and the name of the one in hand."""

_BLOCK = 1 << 22
"""Entries of a tensor without factors that are in memory at a time."""


def extract_adapter(
    base: str | PathLike[str],
    tuned: str | PathLike[str],
    out: str | PathLike[str],
    *,
    size: Truncation = Truncation(),  # noqa: B008 (immutable)
    selection: Selection = Selection(),  # noqa: B008 (immutable)
    save_rest: bool = False,
    overwrite: bool = False,
    device: str = "cpu",
    progress: Progress = lambda done, total, name: None,
) -> ExtractReport:
    """Writes the delta of a fine-tune as a LoRA adapter in PEFT's form; returns how near it is.

    Models are folders, Hub ids, adapters and sums of them (BASE+ADAPTER), whose deltas are never
    multiplied out. The folder is whole or absent; the report lies in it as weightlens.json. size:
    how the rank of each matrix is chosen. The default, 90 % of each delta's energy, bounds the
    error of every matrix (0.32 of ‖Δ‖) and assumes nothing about the delta; `noise` does.
    save_rest: changed tensors that are no matrices of linear layers go into the adapter whole.
    device: where deltas are factorised (CUDA untested).

    Raises InputError and its kinds, before a weight is read where headers can tell.
    """
    where, out = named_device(device), Path(out)
    settle(out)
    check_output(out, overwrite=overwrite)
    base_at, tuned_at = resolve(str(base)), resolve(str(tuned))
    check_output(out, overwrite=overwrite, sources=[*base_at.folders, *tuned_at.folders])
    weights = base_weights(open_model(base_at.path, adapters=base_at.adapters, label=base_at.label))
    model = open_model(
        tuned_at.path, adapters=tuned_at.adapters, label=tuned_at.label, base=weights
    )
    plan = make_extract_plan(weights, model, size=size, selection=selection, save_rest=save_rest)
    named = peft_base(base_at)
    writer = AdapterWriter(
        out,
        plan.matrices,
        base_model=named.model,
        revision=named.revision,
        whole=plan.may_be_whole,
        transposed=weights.transposed,
        overwrite=overwrite,
    )
    run = Extraction(weights, model, plan, size, where)
    with writer, exact_arithmetic():
        run.write(writer, progress)
        settings = _settings(size, selection, save_rest)
        report = run.report(writer, settings, source_record(base_at), source_record(tuned_at))
        writer.add_provenance(report.to_json())
    return report


def _settings(size: Truncation, selection: Selection, save_rest: bool) -> ExtractSettings:
    return ExtractSettings(
        size=TruncationChoice(by=size.by, value=size.value, most=size.most),
        include=selection.include,
        exclude=selection.exclude,
        save_rest=save_rest,
    )


@dataclass
class Extraction:
    """One pass over a plan; collects what is recorded of each tensor. device: where deltas are
    factorised; unchanged: matrices."""

    base: Weights
    tuned: Model
    plan: ExtractPlan
    size: Truncation
    device: torch.device = CPU
    matrices: list[ExtractedMatrix] = field(default_factory=list)
    whole: list[WholeTensor] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    unchanged: int = 0
    _saved: set[str] = field(default_factory=set)

    def write(self, writer: AdapterWriter, progress: Progress) -> None:
        """Writes every tensor that the adapter is to hold, and measures the others.

        Raises InputError where there is nothing to write, NonFiniteTensor, OutputError.
        """
        total = len(self.plan.names)
        for done, name in enumerate(self.plan.names):
            progress(done, total, name)
            if name in self.plan.left_out:
                self._leave_out(name, self.plan.left_out[name])
            elif name in self.plan.whole:
                self._save(name, writer)
            else:
                self._factor(name, writer)
        progress(total, total, "")
        if not self.matrices:
            raise InputError(
                f"{self.tuned.label}: no matrix differs from {self.base.label}; check that they "
                "are the models you mean, and --include and --exclude"
            )
        if not writer.ranks:
            raise InputError(
                f"{self.tuned.label}: no direction of its delta stands above the noise; ask for "
                "--energy or --rank"
            )

    def report(
        self,
        writer: AdapterWriter,
        settings: ExtractSettings,
        base: SourceRecord,
        tuned: SourceRecord,
    ) -> ExtractReport:
        """All that was found, once everything is written."""
        return ExtractReport(
            weightlens=VERSION,
            torch=torch.__version__,
            device=str(self.device),
            base=base,
            tuned=tuned,
            settings=settings,
            warnings=list(self.plan.warnings),
            totals=totals_of(self.matrices, self.whole, self.left_out),
            unchanged=self.unchanged,
            parameters=writer.nbytes // writer.dtype.itemsize,
            matrix_parameters=sum(math.prod(m.shape) for m in self.matrices if m.rank),
            bytes=writer.nbytes,
            checksums=writer.checksums,
            matrices=self.matrices,
            whole=self.whole,
            left_out=self.left_out,
        )

    def _factor(self, name: str, writer: AdapterWriter) -> None:
        delta = self._delta(name)
        if delta is None or delta.is_zero():
            self.unchanged += 1
            return
        found = truncated(delta.on(self.device), self.size)
        if not found.norm:
            self.unchanged += 1
            return
        writer.add(name, found.factors.on(CPU))
        place = place_of(name)
        self.matrices.append(
            ExtractedMatrix(
                name=name,
                layer=place.layer,
                module=place.module,
                shape=delta.shape,
                rank=found.factors.rank,
                energy=found.energy,
                error=found.error,
                delta_norm=found.norm,
                threshold=found.threshold,
                path=found.path,
            )
        )

    def _delta(self, name: str) -> Delta | None:
        delta = self.tuned.delta(name, self.base, self.base.read(name))
        if isinstance(delta, Dense) and not all_finite(delta.matrix):
            raise NonFiniteTensor(
                f"{self.tuned.label}: {name} differs from the base by more than float32 holds"
            )
        return delta

    def _save(self, name: str, writer: AdapterWriter) -> None:
        norm, module = self._norm(name), module_of(name)
        if not norm:
            return
        tensor = self.tuned.tensor(name, self.base)
        self.whole.append(WholeTensor(name=name, shape=tuple(tensor.shape), delta_norm=norm))
        if f"{module}.weight" in writer.ranks:
            writer.add_whole(name, tensor)
        elif module not in self._saved:
            self._saved.add(module)
            for sibling in self.plan.siblings[module]:  # PEFT wants all of a module
                wanted = sibling in self.plan.whole
                read = self.tuned.tensor(sibling, self.base) if wanted else self.base.read(sibling)
                writer.add_whole(sibling, read)

    def _leave_out(self, name: str, reason: str) -> None:
        ours = self.tuned.infos(self.base).get(name) or self.base.infos[name]
        theirs = self.base.infos.get(name) or ours
        norm = self._norm(name) if ours.shape == theirs.shape else None
        if norm != 0:
            self.left_out.append(
                LeftOut(name=name, shape=ours.shape, reason=reason, delta_norm=norm)
            )

    def _norm(self, name: str) -> float:
        """‖Δ‖ of a tensor, some of its entries at a time unless adapters touch it."""
        squares = (
            float(torch.linalg.vector_norm(block, dtype=torch.float64)) ** 2
            for block in self._difference(name)
        )
        norm = math.sqrt(math.fsum(squares))
        if not math.isfinite(norm):
            raise NonFiniteTensor(
                f"{self.tuned.label}: {name} differs from the base by more than float32 holds"
            )
        return norm

    def _difference(self, name: str) -> Iterator[Float[Tensor, "..."]]:
        base, own = self.base, self.tuned.weights
        if own is None or isinstance(base, AppliedWeights) or self.tuned.adapters.touches(name):
            yield self.tuned.tensor(name, base) - base.read(name)
            return
        info = own.infos.get(name) or base.infos[name]
        for start in range(0, info.entries, _BLOCK):
            stop = min(start + _BLOCK, info.entries)
            yield own.read_block(name, start, stop) - base.read_block(name, start, stop)
