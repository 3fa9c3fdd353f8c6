"""SLERP: from the base to one other model along the great circle.

    w = sin((1−t)θ)/sin θ · w_0 + sin(tθ)/sin θ · w_1      cos θ = ⟨w_0, w_1⟩ / (‖w_0‖ ‖w_1‖)

and (1−t) w_0 + t w_1 where the two are parallel, |cos θ| > 0.9995. Shoemake 1985, "Animating
rotation with quaternion curves", section 3.3; each tensor is one vector.
"""

import math
from typing import ClassVar, Literal

from jaxtyping import Float
from torch import Tensor

from weightlens.merge.method import Finite, OnWeights, weighted_sum
from weightlens.merge.streaming import Block, Streamed, gram

PARALLEL = 0.9995
_SHORTEST = 1e-8


class Slerp(OnWeights):
    """t: 0 is the base, 1 the other model."""

    method: Literal["slerp"] = "slerp"
    most: ClassVar[int | None] = 1
    passes: ClassVar[str] = "two-pass"
    t: Finite

    def gather(self, tensor: Streamed) -> tuple[float, float]:
        """The factors of base and source."""
        products = gram(tensor, with_base=True)
        norms = [math.sqrt(float(products[i, i])) for i in range(2)]
        scale = math.prod(norm if norm > _SHORTEST else 1.0 for norm in norms)
        return slerp_factors(float(products[0, 1]) / scale, self.t)

    def combine(self, block: Block, gathered: tuple[float, float]) -> Float[Tensor, "block"]:
        """The point on the arc."""
        assert block.base is not None
        return weighted_sum([block.base, block.sources[0]], gathered)


def slerp_factors(cosine: float, t: float, *, parallel: float = PARALLEL) -> tuple[float, float]:
    """Factors of two vectors whose angle has this cosine."""
    cosine = max(-1.0, min(1.0, cosine))
    if abs(cosine) > parallel:
        return 1 - t, t
    theta = math.acos(cosine)
    return math.sin((1 - t) * theta) / math.sin(theta), math.sin(t * theta) / math.sin(theta)
