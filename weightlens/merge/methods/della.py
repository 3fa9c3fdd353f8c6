"""DELLA: drop entries of each delta at random, small ones more often than large ones.

    m_ij = 1 with probability  density − ε + 2ε (r_ij − 1)/(n − 1)

where r_ij is the rank of |δ_ij| in its row of n entries, 1 for the smallest; of equal entries the
one further left ranks lower. della elects signs before it adds, della_linear does not
(weightlens.merge.sparse). Deep et al. 2024, arXiv:2406.11617, section 3.1.
"""

from functools import lru_cache
from typing import Annotated, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float, Int
from pydantic import model_validator
from torch import Tensor

from weightlens.merge.draws import Limits, limits
from weightlens.merge.method import PerSource, Share
from weightlens.merge.thinning import Thinned


class _Della(Thinned):
    passes: ClassVar[str] = "row-wise"
    epsilon: Annotated[tuple[Share, ...], PerSource(default=0.15)] = ()

    @model_validator(mode="after")
    def _probabilities(self) -> "_Della":
        for density, epsilon in zip(self.density, self.epsilon, strict=True):
            if 0 < density < 1 and not epsilon < min(density, 1 - density):
                raise ValueError(f"epsilon {epsilon:g} takes density {density:g} ± epsilon out of "
                                 "0 to 1")  # fmt: skip
        return self

    def width(self, shape: tuple[int, ...]) -> int:
        """A row."""
        return max(shape[-1], 1) if shape else 1

    def limits(self, delta: Float[Tensor, "block"], source: int, width: int) -> Limits:
        """By the rank of each entry in its row."""
        by_rank = _limits_by_rank(width, self.density[source], self.epsilon[source])
        order = ascending(delta.view(-1, width))
        found = torch.empty(order.shape, dtype=torch.int32)
        found.scatter_(1, order, torch.from_numpy(by_rank).expand_as(order))
        return found.flatten().numpy().view(np.uint32)


@lru_cache(64)
def _limits_by_rank(width: int, density: float, epsilon: float) -> npt.NDArray[np.int32]:
    """The bits of those for ranks 1 … width, since torch scatters no unsigned numbers; an entry
    alone has the middle one."""
    share = np.linspace(0, 1, width) if width > 1 else np.array([0.5])
    return limits(density - epsilon + 2 * epsilon * share).view(np.int32)


_DROPPED = 13
"""Bits of float32 that are left out of account: sizes a thousandth apart are told apart."""
_KEYS = 1 << 16
"""Of what is left, sizes are told apart from the row's largest down to the 2⁻⁶⁴th part of it."""


def ascending(rows: Float[Tensor, "rows n"]) -> Int[Tensor, "rows n"]:
    """The columns of each row by the size of their entries, of equal ones the leftmost first.

    Sizes are compared by 16 bits, since there is a radix sort for so many, several times faster
    than one of floats. Sizes that agree in those count as equal: that moves a probability by less
    than the share of the row that is so near.
    """
    # the bits of positive floats are in the order of the floats
    keys = rows.abs().numpy().view(np.int32) >> _DROPPED
    if rows.numel():
        lowest = keys.max(axis=1, keepdims=True) - (_KEYS - 1)
        keys -= np.maximum(lowest, 0)
        np.maximum(keys, 0, out=keys)
    return torch.from_numpy(keys.astype(np.uint16).argsort(axis=1, kind="stable"))


class Della(_Della):
    """epsilon: half the spread of the probabilities; the others as in Sparse, with normalize and
    rescale on by default."""

    method: Literal["della"] = "della"
    elects: ClassVar[bool] = True
    normalize: bool = True


class DellaLinear(_Della):
    """epsilon: half the spread of the probabilities; the others as in Sparse, with rescale on by
    default."""

    method: Literal["della_linear"] = "della_linear"
    elects: ClassVar[bool] = False
