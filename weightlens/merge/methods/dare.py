"""DARE: drop entries of each delta at random, scale up what is left.

    m_i = 1 with probability density_i, entry by entry

dare_linear adds what is left; dare_ties elects signs before (weightlens.merge.sparse).
Yu et al. 2023, arXiv:2311.03099, section 3.2. The draws depend on seed, source, tensor and position
alone.
"""

from typing import ClassVar, Literal

from weightlens.merge.draws import uniform
from weightlens.merge.sparse import Sparse, Trim
from weightlens.merge.streaming import Streamed


class _Dare(Sparse):
    rescale: bool = True
    passes: ClassVar[str] = "two-pass"

    def trimming(self, tensor: Streamed) -> Trim:
        """Each entry by its own draw."""
        return lambda block: [
            delta if density >= 1
            else delta * (uniform(tensor.key, i, block.start, len(block)) < density)
            for i, (delta, density) in enumerate(zip(block.sources, self.density, strict=True))
        ]  # fmt: skip


class DareLinear(_Dare):
    """Parameters as in Sparse; rescale is on by default."""

    method: Literal["dare_linear"] = "dare_linear"
    elects: ClassVar[bool] = False


class DareTies(_Dare):
    """Parameters as in Sparse; rescale is on by default."""

    method: Literal["dare_ties"] = "dare_ties"
    elects: ClassVar[bool] = True
