"""One tensor of a merge's output: the tensors that go in, and the method for it."""

from dataclasses import dataclass
from typing import Literal

from weightlens.checkpoint.layout import TensorInfo
from weightlens.checkpoint.model import AppliedWeights, Model
from weightlens.checkpoint.names import tied_to
from weightlens.checkpoint.weights import Weights
from weightlens.merge.method import MergeMethod
from weightlens.merge.transforms import Strip

JobKind = Literal["copy", "stream", "matrix"]


@dataclass(frozen=True)
class Source:
    """A model of the merge: itself, and the weights that its tensors are read from (those of the
    base where it is an adapter alone)."""

    model: Model
    weights: Weights

    @property
    def label(self) -> str:
        """What the recipe calls it."""
        return self.model.label


@dataclass(frozen=True)
class Input:
    """One tensor of a source."""

    source: Source
    name: str

    @property
    def info(self) -> TensorInfo:
        """Its shape and dtype; a tied tensor has those of its partner."""
        infos = self.source.weights.infos
        own = self.name if self.name in infos else tied_to(self.name, infos)
        assert own is not None, self.name
        return infos[own]

    @property
    def streams(self) -> bool:
        """Whether it can be read block by block: no adapter's factors are to be multiplied out."""
        below = self.source.weights
        applied = isinstance(below, AppliedWeights) and below.touches(self.name)
        return not (applied or self.source.model.adapters.touches(self.name))


@dataclass(frozen=True)
class Job:
    """One output tensor.

    copy: integers, which all inputs must agree on. stream: in blocks, or in blocks of rows. matrix:
    whole tensors, for transforms and for deltas that come as factors. inputs: without the base;
    fallback: stands in for rows that one of them lacks.
    """

    name: str
    kind: JobKind
    info: TensorInfo
    base: Input | None
    inputs: tuple[Input, ...]
    fallback: Input
    method: MergeMethod
    transforms: tuple[Strip, ...] = ()

    @property
    def all_inputs(self) -> tuple[Input, ...]:
        """The base, where there is one, and the others."""
        return self.inputs if self.base is None else (self.base, *self.inputs)
