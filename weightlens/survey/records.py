"""From measurements to the records of a report."""

from dataclasses import dataclass

from weightlens.checkpoint.model import Model
from weightlens.checkpoint.names import place_of
from weightlens.checkpoint.selection import Selection
from weightlens.checkpoint.weights import Weights
from weightlens.delta import Delta
from weightlens.overlap.curve import OverlapCurve
from weightlens.spectral.basis import Factorisation
from weightlens.spectral.rank import SubspaceSize
from weightlens.survey.cuts import Cut
from weightlens.survey.further import Known, further_metrics
from weightlens.survey.matrix import measure
from weightlens.survey.result import CurveRecord, MatrixRecord, ModelRecord, Skipped
from weightlens.survey.stacks import stacks_of
from weightlens.survey.steps import step_of
from weightlens.survey.summary import summarise

CURVE_POINTS = 32
"""Ranks at which a curve is recorded, evenly spaced on a logarithmic axis."""


@dataclass(frozen=True)
class Extent:
    """How much is measured of a matrix."""

    size: SubspaceSize
    more: bool = False
    curves: bool = False

    @property
    def whole(self) -> bool:
        """Whether all singular directions are needed."""
        return self.more or self.curves


def matrix_record(
    cut: Cut, base: Factorisation, delta: Delta | None, rounding: float | None, extent: Extent
) -> MatrixRecord:
    """One matrix of one model. rounding: what rounding alone would put into ‖Δ‖²."""
    place = place_of(cut.name)
    measured = measure(base, extent.size, delta, rounding=rounding)
    m, n = base.matrix.shape
    more: dict[str, float | None] = {}
    sigma, curve = measured.sigma, measured.curve
    if extent.more and delta is not None and sigma is not None and curve is not None:
        more = further_metrics(base, delta, known=Known(sigma, curve), rounding=rounding)
    return MatrixRecord(
        name=cut.name,
        expert=cut.expert if cut.expert is not None else place.expert,
        part=cut.part,
        layer=place.layer,
        module=place.module,
        shape=(m, n),
        base=measured.base,
        delta=measured.delta,
        subspace=measured.subspace,
        column=measured.column,
        row=measured.row,
        both=measured.both,
        weighted=measured.weighted,
        more=more,
        curve=curve_record(curve, measured.subspace.rank) if extent.curves and curve else None,
    )


def curve_record(curve: OverlapCurve, rank: int) -> CurveRecord:
    """The curve at some ranks: 1, d and the subspace's own among them."""
    d = len(curve.column)
    spaced = {round(d ** (i / (CURVE_POINTS - 1))) for i in range(CURVE_POINTS)}
    ranks = sorted({1, d, rank} | spaced)
    sides = [[float(side[k - 1]) for k in ranks] for side in (curve.column, curve.row, curve.both)]
    return CurveRecord(k=ranks, column=sides[0], row=sides[1], both=sides[2])


def model_record(
    model: Model, base: Weights, selection: Selection, matrices: list[MatrixRecord]
) -> ModelRecord:
    """A model's matrices with their means, and what was left out and why."""
    tuned = model.infos(base)
    skipped = []
    for name, info in base.infos.items():
        reason = selection.reason_to_skip(name, info)
        other = tuned.get(name, info)
        if other.shape != info.shape:
            reason = f"{reason}; {info.shape[0]} rows, {other.shape[0]} in the tuned model"
        if reason is not None:
            skipped.append(Skipped(name=name, reason=reason))
    return ModelRecord(
        model=model.label,
        kind=model.kind,
        step=_step(model, base),
        summary=summarise(matrices),
        skipped=skipped,
        matrices=matrices,
        stacks=stacks_of(matrices),
    )


def _step(model: Model, base: Weights) -> int | None:
    """Of a run whose checkpoints are full weights or single adapters."""
    if len(model.adapters.parts) == 1:
        return step_of(model.adapters.parts[0].folder)
    weights = model.weights
    if weights is None or weights.folder is None or weights is base or model.adapters:
        return None
    return step_of(weights.folder)
