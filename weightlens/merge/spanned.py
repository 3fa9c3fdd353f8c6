"""Methods whose result is a weighted sum of the sources, with weights that depend on the angles
between them: all that they need to know of a tensor is ⟨x_i, x_j⟩, gathered in one pass."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from weightlens.merge.method import MergeMethod, weighted_sum
from weightlens.merge.streaming import Block, Streamed, gram


class Spanned(MergeMethod):
    """A method in the span of its sources."""

    passes: ClassVar[str] = "two-pass"

    @abstractmethod
    def coefficients(self, products: Float[Tensor, "sources sources"]) -> Sequence[float]:
        """The weight of each source, from ⟨x_i, x_j⟩ in float64. Raises ValueError where the
        sources leave no direction."""

    def gather(self, tensor: Streamed) -> tuple[float, ...]:
        """The weight of each source."""
        if tensor.count == 1:
            return (1.0,)
        return tuple(float(c) for c in self.coefficients(gram(tensor)))

    def combine(self, block: Block, gathered: tuple[float, ...]) -> Float[Tensor, "block"]:
        """The weighted sum."""
        return weighted_sum(block.sources, gathered)
