"""All singular directions of a factorised matrix, both sides, without an n x n matrix.

The leading directions of the long side are Wᵀ u_i / σ_i and stay implicit; those whose σ is too
small to divide by are completed by a QR decomposition and turned by a small SVD.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from weightlens.spectral.basis import SMALLEST_RATIO, Factorisation
from weightlens.spectral.gram import cross_product, float32_holds_products, long_product, wide

_FLOAT32_RATIO, _FLOAT32_SIDE = 5e-3, 512
"""Smallest σ / σ₁ for which products with the long side in float32 read overlaps to 1e-6, and the
short side from which float32 is worth it."""


@dataclass(frozen=True)
class Directions:
    """All d singular directions of a base, the long side's (mostly) without its vectors.

    wide: the base, or its transpose where it is tall. short: d x d orthonormal, one direction a
    column. sigma: singular values of the h leading directions. tail: e x (d − h), the long side's
    vectors of the others. All float64 but wide, which is as given.
    """

    wide: Float[Tensor, "d e"]
    short: Float[Tensor, "d d"]
    sigma: Float[Tensor, "h"]
    tail: Float[Tensor, "e t"]

    def along_short(self, matrix: Float[Tensor, "d c"]) -> Float[Tensor, "d c"]:
        """Coordinates of the matrix's columns along the short side's vectors."""
        return self.short.T @ matrix.double()

    def along_long(self, matrix: Float[Tensor, "e c"]) -> Float[Tensor, "d c"]:
        """Coordinates of the matrix's columns along the long side's vectors."""
        leading = self.short[:, : len(self.sigma)]
        product = cross_product(self.wide, matrix.T, dtype=self.precision)
        head = (leading.T @ product.double()) / self.sigma[:, None]
        if not self.tail.shape[1]:
            return head
        return torch.cat([head, self.tail.T @ matrix.double()])

    @property
    def precision(self) -> torch.dtype:
        """What products of the base with another matrix need to be formed in."""
        worth_it = len(self.short) >= _FLOAT32_SIDE and not self.tail.shape[1]
        enough = worth_it and bool(self.sigma[-1] >= _FLOAT32_RATIO * self.sigma[0])
        holds = self.wide.dtype == torch.float32 and float32_holds_products(self.wide)
        return torch.float32 if enough and holds else torch.float64


def directions(base: Factorisation) -> Directions:
    """Both sides' singular directions of a factorised base, in descending order of σ.

    Where singular values are equal, the directions that belong to them are one choice among many.
    Raises ValueError for a partial factorisation.
    """
    if not base.complete:
        raise ValueError("the factorisation knows the leading directions only")
    short, sigma = wide(base.matrix), base.sigma
    head = int((sigma > SMALLEST_RATIO * sigma[0]).sum())
    if head == len(sigma):
        return Directions(short, base.vectors, sigma, base.vectors.new_empty(short.shape[1], 0))
    leading, rest = base.vectors[:, :head], base.vectors[:, head:]
    long = long_product(short, base.vectors)
    spread = long[:, head:]
    # QR keeps Q orthonormal however small or dependent the columns of `spread` are
    both = torch.cat([long[:, :head] / sigma[:head], spread], dim=1)
    completion = torch.linalg.qr(both).Q[:, head:]
    turn_short, _, turn_long = torch.linalg.svd(spread.T @ completion)
    turned = torch.cat([leading, rest @ turn_short], dim=1)
    return Directions(short, turned, sigma[:head], completion @ turn_long.T)
