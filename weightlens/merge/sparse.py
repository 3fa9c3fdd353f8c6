"""Methods that drop entries of each delta, then add what is left.

    trim    a_i = s_i m_i δ_i       m_i: 0 or 1 for each entry, as the method says
                                    s_i: 1, or with rescale ‖δ_i‖₁ / ‖m_i δ_i‖₁ over the tensor
    add     δ   = λ Σ_i weight_i a_i  [/ Σ_i weight_i with normalize]

and where signs are elected, entry by entry (TIES, arXiv:2306.01708, section 3),

    elect   γ   = sign(Σ_i weight_i a_i), + for a sum of 0
    add     δ   = λ Σ_{i ∈ A} weight_i a_i  [/ Σ_{i ∈ A} weight_i with normalize]
                                    A = {i : sign(weight_i a_i) = γ}

Matching the norm by rescale is mergekit's rule (0.1.5); the DARE paper divides by the density,
which is the same in expectation.
"""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Annotated, ClassVar

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor

from weightlens.merge.method import Finite, OnDeltas, PerSource, Share, Weight, weighted_sum
from weightlens.merge.streaming import Block, Streamed, size

Trim = Callable[[Block], Sequence[Float[Tensor, "block"]]]
"""The deltas of a block with 0 for the entries that go."""

Density = Annotated[tuple[Share, ...], PerSource(default=1.0)]

_TINY = 1e-7
"""Norms below are not matched: the quotient would be noise (mergekit's value)."""

_SIGN = -(1 << 31)
"""The bit of float32 that is the sign."""


@dataclass(frozen=True)
class Trimming:
    """How a tensor's deltas are trimmed, and the factor of each source afterwards."""

    trim: Trim
    factors: tuple[float, ...]


class Sparse(OnDeltas):
    """weight: factor of each source's delta; density: share of its entries that stay.

    normalize: divide by the weights that were added; rescale: match the L1 norm that each delta
    had; lambda: factor of the sum. int8_mask: accepted for mergekit's recipes, and without effect:
    masks take one byte an entry here in any case.
    """

    weight: Weight
    density: Density = ()
    normalize: bool = False
    rescale: bool = False
    lambda_: Finite = Field(default=1.0, alias="lambda")
    int8_mask: bool = False
    elects: ClassVar[bool]

    @abstractmethod
    def trimming(self, tensor: Streamed) -> Trim:
        """How the deltas are trimmed. May look at the whole tensor first."""

    def gather(self, tensor: Streamed) -> Trimming:
        """How the deltas are trimmed, and the factors that restore norms."""
        trim = self.trimming(tensor)
        if not self.rescale or all(density >= 1 for density in self.density):
            return Trimming(trim, (1.0,) * tensor.count)
        before, after = [0.0] * tensor.count, [0.0] * tensor.count
        for block in tensor.blocks(self.width(tensor.shape)):
            for i, (delta, trimmed) in enumerate(zip(block.sources, trim(block), strict=True)):
                if self.density[i] < 1:
                    before[i] += size(delta)
                    after[i] += size(trimmed)
        return Trimming(trim, tuple(map(_matching, before, after)))

    def combine(self, block: Block, gathered: Trimming) -> Float[Tensor, "block"]:
        """The delta of the merge."""
        trimmed = [
            delta if factor == 1 else delta * factor
            for delta, factor in zip(gathered.trim(block), gathered.factors, strict=True)
        ]
        summed = self._elected(trimmed) if self.elects else self._summed(trimmed)
        return summed if self.lambda_ == 1 else summed.mul_(self.lambda_)

    def _summed(self, deltas: Sequence[Float[Tensor, "block"]]) -> Float[Tensor, "block"]:
        summed = weighted_sum(deltas, self.weight)
        divisor = sum(self.weight)
        return summed.div_(divisor) if self.normalize and abs(divisor) >= 1e-8 else summed

    def _elected(self, deltas: Sequence[Float[Tensor, "block"]]) -> Float[Tensor, "block"]:
        # in memory of their own, where all that follows happens: that is twice as fast
        agreeing = [delta * weight for delta, weight in zip(deltas, self.weight, strict=True)]
        elected = sign_bits(agreeing)
        for delta in agreeing:  # what agrees is positive once turned; turning back is exact
            turn(delta, elected).clamp_(min=0)
        result = turn(reduce(Tensor.add_, agreeing[1:], agreeing[0].clone()), elected)
        if not self.normalize:
            return result
        divisor = weighted_sum([delta.sign_() for delta in agreeing], self.weight)
        if min(self.weight) > 0:  # then no weights cancel, and 0/tiny is 0 where nobody agrees
            return result.div_(divisor.clamp_(min=torch.finfo(divisor.dtype).tiny))
        return result.div_(divisor.masked_fill_(divisor == 0, 1.0))


def sign_bits(deltas: Sequence[Float[Tensor, "block"]]) -> Int[Tensor, "block"]:
    """The sign bit of the sum of deltas, entry by entry: that of + where the sum is 0."""
    # + 0.0: −0 becomes 0
    summed = reduce(torch.add, deltas) + 0.0
    return summed.view(torch.int32).bitwise_and_(_SIGN)


def turn(values: Float[Tensor, "block"], bits: Int[Tensor, "block"]) -> Float[Tensor, "block"]:
    """Turns the sign, in place, of the entries whose sign bit is given."""
    values.view(torch.int32).bitwise_xor_(bits)
    return values


def _matching(before: float, after: float) -> float:
    return 1.0 if before < _TINY or after < _TINY else before / after
