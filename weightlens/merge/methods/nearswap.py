"""NearSwap: take the other model's entry where it is near the base's.

    w = s w_1 + (1 − s) w_0      s = min(1, t / |w_0 − w_1|), entry by entry

alchemonaut 2024, the model card of QuartetAnemoi-70B-t0.0001; mergekit 0.1.5.
"""

from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from weightlens.merge.method import Finite, OnWeights
from weightlens.merge.streaming import Block

_NEAREST = 1e-6


class NearSwap(OnWeights):
    """t: the distance up to which entries are swapped whole."""

    method: Literal["nearswap"] = "nearswap"
    most: ClassVar[int | None] = 1
    t: Finite

    def combine(self, block: Block, gathered: None) -> Float[Tensor, "block"]:
        """Swapped near the base, blended further away."""
        base, (other,) = block.base, block.sources
        assert base is not None
        if self.t >= _NEAREST:
            # the same, and entries that are swapped are the other model's to the bit
            return torch.clamp(other, base - self.t, base + self.t)
        share = (self.t / (base - other).abs().clamp_(min=_NEAREST)).clamp_(0, 1)
        return share * other + (1 - share) * base
