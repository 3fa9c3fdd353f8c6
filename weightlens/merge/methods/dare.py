"""DARE: drop entries of each delta at random, scale up what is left.

    m_i = 1 with probability density_i, entry by entry

dare_linear adds what is left; dare_ties elects signs before (weightlens.merge.sparse).
Yu et al. 2023, arXiv:2311.03099, section 3.2. The draws depend on seed, source, tensor and position
alone.
"""

from typing import ClassVar, Literal

from jaxtyping import Float
from torch import Tensor

from weightlens.merge.draws import Limits, limits
from weightlens.merge.thinning import Thinned


class _Dare(Thinned):
    def limits(self, delta: Float[Tensor, "block"], source: int, width: int) -> Limits:
        """The same for all entries."""
        return limits(self.density[source])


class DareLinear(_Dare):
    """Parameters as in Sparse; rescale is on by default."""

    method: Literal["dare_linear"] = "dare_linear"
    elects: ClassVar[bool] = False


class DareTies(_Dare):
    """Parameters as in Sparse; rescale is on by default."""

    method: Literal["dare_ties"] = "dare_ties"
    elects: ClassVar[bool] = True
