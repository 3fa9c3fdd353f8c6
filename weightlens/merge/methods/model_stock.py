"""Model stock: the mean of the deltas, shrunk by how much they agree.

    w = w_0 + t · mean_i δ_i      t = N cos θ / (1 + (N−1) cos θ)

cos θ: the mean cosine between pairs of deltas, of the whole tensor or of each row (filter_wise).
Where the denominator vanishes the base stays. Jang et al. 2024, arXiv:2403.19522, section 4.
"""

from itertools import combinations
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from weightlens.merge.method import OnDeltas, weighted_sum
from weightlens.merge.streaming import Block, Streamed, gram

_SHORTEST = 1e-6


class ModelStock(OnDeltas):
    """filter_wise: an angle for each row instead of one for the tensor."""

    method: Literal["model_stock"] = "model_stock"
    fewest: ClassVar[int] = 2
    passes: ClassVar[str] = "two-pass"
    filter_wise: bool = False

    def width(self, shape: tuple[int, ...]) -> int:
        """A row where rows have angles of their own."""
        return max(shape[-1], 1) if self.filter_wise and shape else 1

    def gather(self, tensor: Streamed) -> tuple[int, float | None]:
        """The width of a row, and t for the whole tensor."""
        if self.filter_wise:
            return self.width(tensor.shape), None
        return 1, float(_share(gram(tensor).unsqueeze(0))[0])

    def combine(self, block: Block, gathered: tuple[int, float | None]) -> Float[Tensor, "block"]:
        """The delta of the merge."""
        width, share = gathered
        count = len(block.sources)
        if share is not None:
            return weighted_sum(block.sources, [share / count] * count)
        mean = weighted_sum(block.sources, [1 / count] * count)
        rows = torch.stack([s.view(-1, width).double() for s in block.sources], dim=1)
        shares = _share(rows @ rows.transpose(1, 2)).float()
        return (mean.view(-1, width) * shares.unsqueeze(1)).flatten()


def _share(products: Float[Tensor, "vectors n n"]) -> Float[Tensor, "vectors"]:
    """t for each set of n deltas, from their ⟨δ_i, δ_j⟩."""
    count = products.shape[1]
    norms = products.diagonal(dim1=1, dim2=2).sqrt()
    cosines = [
        (products[:, i, j] / (norms[:, i] * norms[:, j]).clamp(min=_SHORTEST)).clamp(-1, 1)
        for i, j in combinations(range(count), 2)
    ]
    cosine = torch.stack(cosines).mean(0)
    below = 1 + (count - 1) * cosine
    vanishes = below.abs() < 1e-6
    safe = torch.where(vanishes, torch.ones_like(below), below)
    return torch.where(vanishes, torch.zeros_like(below), count * cosine / safe)
