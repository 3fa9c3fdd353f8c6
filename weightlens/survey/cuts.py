"""The matrices of a tensor: itself, the experts of a stack, the parts of a fused projection."""

from dataclasses import dataclass

from jaxtyping import Int64, Shaped
from torch import Tensor

from weightlens.checkpoint.fused import fused_parts
from weightlens.checkpoint.weights import Weights
from weightlens.delta import Delta, Dense, Factored


@dataclass(frozen=True)
class Cut:
    """One matrix of a tensor: all of a 2-D one, one expert of a 3-D stack, or some of its rows."""

    name: str
    expert: int | None = None
    part: str | None = None
    rows: Int64[Tensor, "_part"] | None = None

    def of(self, tensor: Shaped[Tensor, "..."]) -> Shaped[Tensor, "_m _n"]:
        """The matrix, cut from the whole tensor (rows are outputs)."""
        if self.expert is not None:
            return tensor[self.expert]
        return tensor if self.rows is None else tensor[self.rows]

    def of_delta(self, delta: Delta | Shaped[Tensor, "..."] | None) -> Delta | None:
        """The delta of the matrix; that of some rows of B A is those rows of B, times A."""
        if delta is None:
            return None
        if isinstance(delta, Factored):
            if self.rows is None:
                return delta
            return Factored(delta.b[self.rows], delta.a, delta.scale)
        return Dense(self.of(delta.matrix if isinstance(delta, Dense) else delta))

    def of_rounding(self, energies: tuple[float, ...] | None) -> float | None:
        """That of the matrix; of some rows of a tensor it is not known."""
        if energies is None or self.part is not None:
            return None
        return energies[self.expert or 0]


def cuts_of(name: str, shape: tuple[int, ...], base: Weights) -> list[Cut]:
    """The whole first, then its parts as the base's configuration has it; or every expert.

    shape: outputs come first.
    """
    if len(shape) == 3:
        return [Cut(name, expert) for expert in range(shape[0])]
    parts = fused_parts(name, shape[0], base.config) or {}
    return [Cut(name), *(Cut(name, part=part, rows=rows) for part, rows in parts.items())]
