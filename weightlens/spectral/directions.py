"""All singular directions of a factorised matrix, both sides, without an n x n matrix.

The leading directions of the long side are Wᵀ u_i / σ_i and stay implicit. Those whose σ is too
small to divide by, the tail, are completed: what Wᵀ gives of their u_i, made orthonormal and
orthogonal to the others, and both sides turned by the SVD of the small core U_tailᵀ W Q.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from weightlens.spectral.basis import SMALLEST_RATIO, Factorisation
from weightlens.spectral.gram import cross_product, float32_holds_products, long_product, wide
from weightlens.spectral.orthonormal import orthonormal_outside

_FLOAT32_RATIO, _FLOAT32_SIDE = 5e-3, 512
"""Smallest σ / σ₁ for which products with the long side in float32 read overlaps to 1e-6, and the
short side from which float32 is worth it."""

_NOISE = 1e-9
"""What is added to unit columns before they are made orthonormal: columns of zeros have to become
something, too."""

_PASSES = 6
"""How often columns are made orthogonal at most."""


@dataclass(frozen=True)
class Directions:
    """All d singular directions of a base, the long side's (mostly) without its vectors.

    wide: the base, or its transpose where it is tall. leading: d x h, orthonormal, one direction of
    the short side a column; sigma: their singular values. rest and tail: d x (d − h) and
    e x (d − h), the vectors of both sides of the others. All float64 but wide, which is as given.
    """

    wide: Float[Tensor, "d e"]
    leading: Float[Tensor, "d h"]
    sigma: Float[Tensor, "h"]
    rest: Float[Tensor, "d t"]
    tail: Float[Tensor, "e t"]

    def along_short(self, matrix: Float[Tensor, "d c"]) -> Float[Tensor, "d c"]:
        """Coordinates of the matrix's columns along the short side's vectors, in its dtype."""
        parts = (self.leading, self.rest) if self.rest.shape[1] else (self.leading,)
        return torch.cat([part.to(matrix.dtype).T @ matrix for part in parts])

    def along_long(self, matrix: Float[Tensor, "e c"]) -> Float[Tensor, "d c"]:
        """Coordinates of the matrix's columns along the long side's vectors."""
        product = cross_product(self.wide, matrix.T, dtype=self.precision)
        head = (self.leading.T @ product.double()) / self.sigma[:, None]
        if not self.tail.shape[1]:
            return head
        return torch.cat([head, self.tail.T @ matrix.double()])

    @property
    def precision(self) -> torch.dtype:
        """What products of the base with another matrix need to be formed in."""
        worth_it = len(self.leading) >= _FLOAT32_SIDE and not self.tail.shape[1]
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
    short, sigma, vectors = wide(base.matrix), base.sigma, base.vectors
    head = int((sigma > SMALLEST_RATIO * sigma[0]).sum())
    leading, rest, sigma = vectors[:, :head], vectors[:, head:], sigma[:head]
    if not rest.shape[1]:
        return Directions(short, leading, sigma, rest, vectors.new_empty(short.shape[1], 0))
    spread = long_product(short, rest)
    tail = _completed(short, leading, sigma, spread)
    turn_short, _, turn_long = torch.linalg.svd(spread.T @ tail)
    return Directions(short, leading, sigma, rest @ turn_short, tail @ turn_long.T)


def _completed(
    short: Float[Tensor, "d e"],
    leading: Float[Tensor, "d h"],
    sigma: Float[Tensor, "h"],
    spread: Float[Tensor, "e t"],
) -> Float[Tensor, "e t"]:
    """Orthonormal columns outside of Wᵀ U_h, which span what is outside of `spread`: as many,
    however small or dependent its own are."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(spread.shape, generator=generator, dtype=torch.float64).to(spread)
    columns = torch.nn.functional.normalize(spread, dim=0, eps=torch.finfo(spread.dtype).tiny)
    columns.add_(noise, alpha=_NOISE / len(noise) ** 0.5)

    def within(part: Float[Tensor, "e t"]) -> Float[Tensor, "e t"]:
        shares = (leading.T @ cross_product(short, part.T)) / sigma[:, None].square()
        return long_product(short, leading @ shares)

    return orthonormal_outside(columns, within, passes=_PASSES)[0]
