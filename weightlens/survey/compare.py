"""`weightlens compare`: fine-tunes of one base against each other, in one pass over their files."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from itertools import combinations

import torch
from jaxtyping import Shaped
from torch import Tensor

from weightlens.checkpoint.model import Model, base_weights
from weightlens.checkpoint.selection import Selection
from weightlens.checkpoint.weights import Weights
from weightlens.delta import Dense
from weightlens.errors import InputError
from weightlens.spectral.rank import SubspaceSize
from weightlens.survey.compare_matrix import compared
from weightlens.survey.compare_result import CompareReport, MatrixComparison, PairSummary
from weightlens.survey.cuts import cuts_of
from weightlens.survey.opened import ModelLike, opened
from weightlens.survey.reading import fetch, own_weights, read_ahead, read_delta, taken
from weightlens.survey.result import SubspaceChoice
from weightlens.survey.unfinished import Analysis, Unfinished, carried_out, fingerprint
from weightlens.survey.work import Progress, Step, silent
from weightlens.version import VERSION

DEFAULT_SIZE = SubspaceSize("energy", 0.95)
"""The part of a delta that its subspaces stand for."""


def compare_models(
    base: ModelLike,
    tuned: Sequence[ModelLike],
    *,
    size: SubspaceSize = DEFAULT_SIZE,
    selection: Selection = Selection(),  # noqa: B008 (immutable)
    unfinished: Unfinished | None = None,
    progress: Progress = silent,
) -> CompareReport:
    """Compares every two of at least two fine-tunes, matrix by matrix; experts one by one.

    size: how much of each delta its subspaces hold. unfinished: where an interrupted run leaves
    its partial report, and where this one looks for one to go on from. Every file is read once.
    Raises InputError and its kinds, and Interrupted (a KeyboardInterrupt) with the partial report
    on Ctrl-C.
    """
    settings = {"compare": (size.by, size.value), "include": selection.include,
                "exclude": selection.exclude}  # fmt: skip
    weights = base_weights(opened(base))
    comparison = Comparison(
        weights,
        [opened(model, base=weights) for model in tuned],
        size,
        selection,
        fingerprint([base, *tuned], settings),
    )
    comparison.check()
    return carried_out(comparison, CompareReport, unfinished, progress)


@dataclass
class Comparison(Analysis[CompareReport]):
    """One pass over the tensors of a base and its fine-tunes. found: what is done of each."""

    base: Weights
    models: Sequence[Model]
    size: SubspaceSize
    selection: Selection
    fingerprint: str | None
    found: dict[str, list[MatrixComparison]] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """The tensors to compare, in the base's order."""
        return list(self.selection.matrices(dict(self.base.infos)))

    def check(self) -> None:
        """Raises InputError and its kinds where there is nothing to compare."""
        if len(self.models) < 2:
            raise InputError("compare needs at least two fine-tunes")
        left_out = set(self.base.infos) - set(self.names)
        for model in self.models:
            model.check_against(self.base, vocabulary=left_out)
        if not self.names:
            raise InputError(f"{self.base.label}: no matrix left to compare")

    def take(self, earlier: CompareReport) -> None:
        """Takes what an earlier run has compared."""
        for name in earlier.done() & set(self.names):
            self.found[name] = [matrix for matrix in earlier.matrices if matrix.name == name]

    def run(self, progress: Progress) -> None:
        """Compares every tensor that is not done."""
        left, total, read = [n for n in self.names if n not in self.found], len(self.names), 0
        jobs = (job for name in left for job in self._jobs(name))
        # closed here: left to the collector, it could end in the very thread that it waits for
        with closing(read_ahead(jobs)) as reads:
            for done, name in enumerate(left, start=total - len(left)):
                progress(Step(done, total, name, bytes=read))
                self.found[name] = self._compared(name, reads)
                every = [self.base, *(model.weights for model in self.models)]
                read += sum(w.infos[name].nbytes for w in every if w and name in w.infos)
        progress(Step(total, total, "", bytes=read))

    def report(self, *, partial: bool = False) -> CompareReport:
        """What is known so far."""
        matrices = [m for name in self.names if name in self.found for m in self.found[name]]
        labels = [model.label for model in self.models]
        return CompareReport(
            weightlens=VERSION,
            partial=partial,
            base=self.base.label,
            models=labels,
            subspace=SubspaceChoice(by=self.size.by, value=self.size.value),
            fingerprint=self.fingerprint,
            pairs=[
                _summary(a, b, labels, matrices) for a, b in combinations(range(len(labels)), 2)
            ],
            matrices=matrices,
        )

    def _jobs(self, name: str) -> Iterator[Callable[[], Shaped[Tensor, "..."] | None]]:
        """Fetches the base's tensor, and each model's."""
        for weights in (self.base, *map(own_weights, self.models)):
            yield partial(fetch, weights, name)

    def _compared(
        self, name: str, fetched: Iterator[Shaped[Tensor, "..."] | None]
    ) -> list[MatrixComparison]:
        base = taken(self.base, name, next(fetched))
        reads = [
            read_delta(model, name, self.base, base, next(fetched)).delta for model in self.models
        ]
        outputs_first = base.mT if name in self.base.transposed else base
        return [
            compared(
                cut,
                [
                    cut.of_delta(read) or Dense(torch.zeros_like(cut.of(outputs_first)))
                    for read in reads
                ],
                self.size,
            )
            for cut in cuts_of(name, tuple(outputs_first.shape), self.base)
            if cut.part is None
        ]


def _summary(
    a: int, b: int, labels: Sequence[str], matrices: Sequence[MatrixComparison]
) -> PairSummary:
    pairs = [p for m in matrices for p in m.pairs if (p.a, p.b) == (a, b)]
    lengths = [math.sqrt(sum(m.norms[i] ** 2 for m in matrices)) for i in (a, b)]
    product = sum(m.inner[a][b] for m in matrices)
    conflicts = [p.sign_conflict for p in pairs if p.sign_conflict is not None]
    ratios = [[p.alignment[side] / p.alignment_chance[side] for p in pairs] for side in (0, 1)]
    return PairSummary(
        a=labels[a],
        b=labels[b],
        cosine=product / (lengths[0] * lengths[1]) if all(lengths) else None,
        sign_conflict=sum(conflicts) / len(conflicts) if conflicts else None,
        alignment_over_chance=(
            (sum(ratios[0]) / len(pairs), sum(ratios[1]) / len(pairs)) if pairs else None
        ),
        interference=sum(p.interference for p in pairs),
    )  # fmt: skip
