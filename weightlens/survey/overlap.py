"""The overlap of fine-tunes with their base, over whole checkpoints."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from weightlens.checkpoint.model import Model, base_weights, check_same_tensors
from weightlens.checkpoint.selection import Selection
from weightlens.checkpoint.weights import Weights
from weightlens.device import exact_arithmetic, named_device
from weightlens.errors import InputError
from weightlens.factors import FactorCache, Factorised, factorised
from weightlens.spectral.basis import Factorisation
from weightlens.spectral.rank import SubspaceSize
from weightlens.survey.cuts import Cut, cuts_of
from weightlens.survey.opened import ModelLike, opened
from weightlens.survey.reading import (
    ReadDelta,
    fetch,
    own_weights,
    read_ahead,
    read_delta,
    taken,
)
from weightlens.survey.records import Extent, matrix_record, model_record
from weightlens.survey.result import (
    Factorisations,
    MatrixRecord,
    OverlapReport,
    SubspaceChoice,
)
from weightlens.survey.unfinished import Analysis, Unfinished, carried_out, fingerprint
from weightlens.survey.work import (
    Progress,
    Step,
    dense_flop,
    factored_flop,
    factorisation_flop,
    silent,
)
from weightlens.version import VERSION

Fetched = Shaped[Tensor, "..."] | None


def measure_overlap(
    base: ModelLike,
    tuned: Sequence[ModelLike],
    *,
    size: SubspaceSize = SubspaceSize(),  # noqa: B008 (immutable)
    selection: Selection = Selection(),  # noqa: B008 (immutable)
    control: ModelLike | None = None,
    more: bool = False,
    curves: bool = False,
    device: str = "cpu",
    cache: FactorCache | None = None,
    unfinished: Unfinished | None = None,
    progress: Progress = silent,
) -> OverlapReport:
    """Measures every matrix of every tuned model against the base.

    Models are folders, Hub ids, PEFT adapter folders, sums of them (BASE+ADAPTER), or state dicts.
    The base is factorised once for all of them, or taken from the cache. control: another model of
    the same shapes, unrelated, whose subspaces take the place of the base's: overlaps with it must
    read chance. more: fill `more` with the further metrics, at the cost of two more factorisations
    a matrix and model. curves: record the overlaps at some thirty ranks. device: where the
    arithmetic is done (`cuda`). unfinished: where an interrupted run leaves its partial report,
    and where this one looks for one to go on from.

    Raises InputError and its kinds (TensorMissing, ShapeMismatch, NonFiniteTensor, …), and
    Interrupted (a KeyboardInterrupt) with the partial report on Ctrl-C.
    """
    extent = Extent(size, more=more, curves=curves)
    settings = {"size": (size.by, size.value), "more": more, "curves": curves,
                "include": selection.include, "exclude": selection.exclude}  # fmt: skip
    weights = base_weights(opened(base))
    survey = Survey(
        weights,
        [opened(model, base=weights) for model in tuned],
        extent,
        selection,
        frame=None if control is None else base_weights(opened(control)),
        device=named_device(device),
        cache=cache,
        fingerprint=fingerprint([base, *tuned, control], settings),
    )
    survey.check()
    with exact_arithmetic():
        return carried_out(survey, OverlapReport, unfinished, progress)


@dataclass
class Survey(Analysis[OverlapReport]):
    """One pass over the tensors of a base and its fine-tunes.

    frame: weights whose subspaces take the place of the base's. found: the records of each tensor
    that is done, by model.
    """

    base: Weights
    models: Sequence[Model]
    extent: Extent
    selection: Selection
    frame: Weights | None
    device: torch.device
    cache: FactorCache | None
    fingerprint: str | None
    found: dict[str, list[list[MatrixRecord]]] = field(default_factory=dict)
    paths: Counter[str] = field(default_factory=Counter)

    @property
    def names(self) -> list[str]:
        """The tensors to measure, in the base's order."""
        return list(self.selection.matrices(dict(self.base.infos)))

    def check(self) -> None:
        """Raises InputError and its kinds where models do not fit each other."""
        left_out = set(self.base.infos) - set(self.names)
        for model in self.models:
            model.check_against(self.base, vocabulary=left_out)
        if self.frame is not None:
            check_same_tensors(self.base, self.frame)
        if not self.names:
            raise InputError(
                f"{self.base.label}: no matrix left to measure; check --include and --exclude"
            )

    def take(self, earlier: OverlapReport) -> None:
        """Takes what an earlier run has measured."""
        for name in earlier.done() & set(self.names):
            self.found[name] = [
                [matrix for matrix in model.matrices if matrix.name == name]
                for model in earlier.models
            ]
        self.paths.update(earlier.factorisations.model_dump())

    def run(self, progress: Progress) -> None:
        """Measures every tensor that is not done."""
        left = [name for name in self.names if name not in self.found]
        flop = {name: self._flop(name) for name in self.names}
        total, done = sum(flop.values()), sum((flop[name] for name in self.found), 0.0)
        taken, read = len(self.found), 0
        jobs = (job for name in left for job in self._jobs(name))
        # closed here: left to the collector, it could end in the very thread that it waits for
        with closing(read_ahead(jobs)) as reads:
            for count, name in enumerate(left, start=taken):
                progress(Step(count, len(flop), name, done, total, read))
                self.found[name] = self._measured(name, reads)
                done += flop[name]
                read += sum(w.infos[name].nbytes for w in self._full_weights(name))
        progress(Step(len(flop), len(flop), "", total, total, read))

    def report(self, *, partial: bool = False) -> OverlapReport:
        """What is known so far."""
        done = [name for name in self.names if name in self.found]
        size = self.extent.size
        return OverlapReport(
            weightlens=VERSION,
            partial=partial,
            base=self.base.label,
            control=None if self.frame is None else self.frame.label,
            subspace=SubspaceChoice(by=size.by, value=size.value),
            factorisations=Factorisations(**self.paths),
            fingerprint=self.fingerprint,
            models=[
                model_record(
                    model,
                    self.base,
                    self.selection,
                    [matrix for name in done for matrix in self.found[name][number]],
                )
                for number, model in enumerate(self.models)
            ],
        )

    def _jobs(self, name: str) -> Iterator[Callable[[], Fetched]]:
        """Fetches the base's tensor, the frame's, and each model's."""
        for weights in (self.base, self.frame, *map(own_weights, self.models)):
            yield partial(fetch, weights, name)

    def _measured(self, name: str, fetched: Iterator[Fetched]) -> list[list[MatrixRecord]]:
        tensor = taken(self.base, name, next(fetched))
        in_frame, frame = next(fetched), tensor
        if self.frame is not None:
            frame = taken(self.frame, name, in_frame)
        if name in self.base.transposed:
            frame = frame.mT
        cuts = self._cuts(name, tuple(frame.shape))
        bases = [self._factorised(cut, cut.of(frame)) for cut in cuts]
        found = []
        for model in self.models:
            read = read_delta(model, name, self.base, tensor, next(fetched))
            found.append([
                self._record(cut, base.factorisation, read)
                for cut, base in zip(cuts, bases, strict=True)
            ])  # fmt: skip
        self.paths.update("cached" if b.cached else b.factorisation.path for b in bases)
        return found

    def _cuts(self, name: str, shape: tuple[int, ...]) -> list[Cut]:
        """The matrices of a tensor, without the parts that are smaller than the rank asked for."""
        size = self.extent.size
        least = size.value if size.by == "rank" else 1
        return [
            cut
            for cut in cuts_of(name, shape, self.base)
            if cut.rows is None or min(len(cut.rows), shape[1]) >= least
        ]

    def _factorised(self, cut: Cut, matrix: Float[Tensor, "m n"]) -> Factorised:
        try:
            found = factorised(
                matrix,
                self.extent.size,
                whole=self.extent.whole,
                cache=self.cache,
                device=self.device,
            )
        except ValueError as error:
            shape = " x ".join(map(str, matrix.shape))
            raise InputError(f"{cut.name} is {shape}: {error}") from error
        return found

    def _record(self, cut: Cut, base: Factorisation, read: ReadDelta) -> MatrixRecord:
        delta = cut.of_delta(read.delta)
        rounding = cut.of_rounding(read.rounding)
        moved = None if delta is None else delta.on(self.device)
        return matrix_record(cut, base, moved, rounding, self.extent)

    def _full_weights(self, name: str) -> list[Weights]:
        """What is read of a tensor: the base, the frame, and models of their own weights."""
        every = [self.base, self.frame, *(model.weights for model in self.models)]
        return [w for w in every if w is not None and name in w.infos]

    def _flop(self, name: str) -> float:
        shape = self.base.infos[name].shape
        m, n = shape[-2:]
        times = shape[0] if len(shape) == 3 else 1
        total = factorisation_flop(m, n)
        for model in self.models:
            dense = model.weights is not None and model.weights is not self.base
            total += dense_flop(m, n) if dense else factored_flop(m, n, 16)
        return times * total
