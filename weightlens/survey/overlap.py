"""`weightlens.overlap`: the overlap of fine-tunes with their base, over whole checkpoints."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from jaxtyping import Float, Shaped
from torch import Tensor

from weightlens.checkpoint.model import Model, base_weights, check_same_tensors
from weightlens.checkpoint.names import place_of
from weightlens.checkpoint.read import Weights
from weightlens.checkpoint.selection import Selection
from weightlens.delta import Delta, Dense, Factored
from weightlens.errors import InputError
from weightlens.spectral.basis import Factorisation, Subspace, factorise
from weightlens.spectral.rank import SubspaceSize
from weightlens.survey.further import further_metrics
from weightlens.survey.matrix import measure
from weightlens.survey.opened import ModelLike, opened
from weightlens.survey.result import (
    MatrixRecord,
    ModelRecord,
    OverlapReport,
    Skipped,
    SubspaceChoice,
)
from weightlens.survey.summary import summarise
from weightlens.version import VERSION

Progress = Callable[[int, int, str], None]
"""Told the matrices done, their total, and the name of the one in hand."""


@dataclass(frozen=True)
class Slice:
    """One matrix of a tensor: all of a 2-D one, or one expert of a 3-D stack."""

    name: str
    expert: int | None

    def of(self, tensor: Shaped[Tensor, "..."]) -> Shaped[Tensor, "m n"]:
        """The matrix, cut from the whole tensor."""
        return tensor if self.expert is None else tensor[self.expert]


def measure_overlap(
    base: ModelLike,
    tuned: Sequence[ModelLike],
    *,
    size: SubspaceSize = SubspaceSize(),  # noqa: B008 (immutable)
    selection: Selection = Selection(),  # noqa: B008 (immutable)
    control: ModelLike | None = None,
    more: bool = False,
    progress: Progress = lambda done, total, name: None,
) -> OverlapReport:
    """Measures every matrix of every tuned model against the base.

    Models are folders, Hub ids, PEFT adapter folders, BASE+ADAPTER, or state dicts. The base is
    factorised once for all of them. control: another model of the same shapes, unrelated, whose
    subspaces take the place of the base's: overlaps with it must read chance. more: fill `more`
    with the further metrics, at the cost of two more factorisations a matrix and model.
    Raises InputError and its kinds (TensorMissing, ShapeMismatch, NonFiniteTensor, …).
    """
    weights = base_weights(opened(base))
    models = [opened(model, base=weights) for model in tuned]
    frame = None if control is None else base_weights(opened(control))
    embeddings = [
        name
        for name, info in weights.infos.items()
        if selection.reason_to_skip(name, info) == "embedding"
    ]
    for model in models:
        model.check_against(weights, vocabulary=embeddings)
    if frame is not None:
        check_same_tensors(weights, frame)
    names = list(selection.matrices(dict(weights.infos)))
    if not names:
        raise InputError(
            f"{weights.label}: no matrix left to measure; check --include and --exclude"
        )
    records: list[list[MatrixRecord]] = [[] for _ in models]
    for done, name in enumerate(names):
        progress(done, len(names), name)
        measured = _measure_tensor(name, weights, models, size, frame, more)
        for found, model_records in zip(measured, records, strict=True):
            model_records.extend(found)
    progress(len(names), len(names), "")
    return OverlapReport(
        weightlens=VERSION,
        base=(frame or weights).label,
        subspace=SubspaceChoice(by=size.by, value=size.value),
        models=[
            _model_record(model, weights, selection, found)
            for model, found in zip(models, records, strict=True)
        ],
    )


def _measure_tensor(
    name: str,
    base: Weights,
    tuned: Sequence[Model],
    size: SubspaceSize,
    subspace_of: Weights | None,
    more: bool,
) -> list[list[MatrixRecord]]:
    stored_base = base.read(name)
    turned = name in base.transposed
    whole = _turned(stored_base, turned)
    frame = whole if subspace_of is None else _turned(subspace_of.read(name), turned)
    subspaces = [_factorised(cut, cut.of(frame), size) for cut in _slices(name, whole)]
    found = []
    for model in tuned:
        delta, stored = model_delta(model, name, base, stored_base)
        if turned and isinstance(delta, Dense | Factored):
            delta = delta.transposed()
        found.append([
            _record(cut, factorisation, subspace, _cut_delta(cut, delta), _cut(cut, stored), more)
            for cut, (factorisation, subspace) in zip(
                _slices(name, whole), subspaces, strict=True
            )
        ])  # fmt: skip
    return found


def _turned(tensor: Float[Tensor, "..."], turned: bool) -> Float[Tensor, "..."]:
    """Rows are outputs, whichever way the checkpoint stores them."""
    return tensor.T if turned else tensor


def model_delta(
    model: Model, name: str, base: Weights, base_tensor: Float[Tensor, "..."]
) -> tuple[Delta | Float[Tensor, "..."] | None, Shaped[Tensor, "..."] | None]:
    """A model's delta (a bare tensor for a stack of experts), and its tensor as stored if any."""
    stored = model.weights.stored(name) if model.weights and model.adapter is None else None
    if base_tensor.ndim == 2:
        return model.delta(name, base, base_tensor), stored
    return model.tensor(name, base) - base_tensor, stored


def _slices(name: str, tensor: Shaped[Tensor, "..."]) -> Iterator[Slice]:
    if tensor.ndim == 2:
        yield Slice(name, None)
    else:
        yield from (Slice(name, expert) for expert in range(tensor.shape[0]))


def _factorised(
    cut: Slice, matrix: Float[Tensor, "m n"], size: SubspaceSize
) -> tuple[Factorisation, Subspace]:
    factorisation = factorise(matrix)
    try:
        return factorisation, factorisation.subspace(size)
    except ValueError as error:
        raise InputError(f"{cut.name} is {' x '.join(map(str, matrix.shape))}: {error}") from error


def _cut(cut: Slice, tensor: Shaped[Tensor, "..."] | None) -> Shaped[Tensor, "m n"] | None:
    return None if tensor is None else cut.of(tensor)


def _cut_delta(cut: Slice, delta: Delta | Float[Tensor, "..."] | None) -> Delta | None:
    if delta is None or isinstance(delta, Dense | Factored):
        return delta
    return Dense(cut.of(delta))


def _record(
    cut: Slice,
    factorisation: Factorisation,
    subspace: Subspace,
    delta: Delta | None,
    stored: Shaped[Tensor, "m n"] | None,
    more: bool,
) -> MatrixRecord:
    place = place_of(cut.name)
    measured = measure(factorisation, subspace, delta, stored=stored)
    m, n = factorisation.matrix.shape
    return MatrixRecord(
        name=cut.name,
        expert=cut.expert if cut.expert is not None else place.expert,
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
        more=further_metrics(factorisation, delta, stored=stored)
        if more and delta is not None and measured.delta.norm
        else {},
    )


def _model_record(
    model: Model, base: Weights, selection: Selection, matrices: list[MatrixRecord]
) -> ModelRecord:
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
        summary=summarise(matrices),
        skipped=skipped,
        matrices=matrices,
    )
