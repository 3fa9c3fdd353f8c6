"""All singular directions of a factorised matrix, both sides, without an n x n matrix.

The leading directions of the long side are Wᵀ u_i / σ_i and stay implicit; those whose σ is too
small to divide by are completed by a QR decomposition and turned by a small SVD.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from weightlens.spectral.basis import Factorisation

_SMALLEST_RATIO = 1e-4
"""σ / σ₁ above which a long-side vector is Wᵀ u / σ.

Its length is then 1 up to eps * (σ₁ / σ)², 2e-8 in float64.
"""


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
        leading, wide = self.short[:, : len(self.sigma)], matrix.double()
        head = (leading.T @ (self.wide.double() @ wide)) / self.sigma[:, None]
        return torch.cat([head, self.tail.T @ wide])


def directions(base: Factorisation) -> Directions:
    """Both sides' singular directions of a factorised base, in descending order of σ.

    Where singular values are equal, the directions that belong to them are one choice among many.
    """
    tall = base.matrix.shape[0] > base.matrix.shape[1]
    wide = base.matrix.T if tall else base.matrix
    sigma = base.sigma
    head = int((sigma > _SMALLEST_RATIO * sigma[0]).sum())
    if head == len(sigma):
        return Directions(wide, base.vectors, sigma, base.vectors.new_empty(wide.shape[1], 0))
    leading, rest = base.vectors[:, :head], base.vectors[:, head:]
    long = wide.double().T
    spread = long @ rest
    # QR keeps Q orthonormal however small or dependent the columns of `spread` are
    both = torch.cat([(long @ leading) / sigma[:head], spread], dim=1)
    completion = torch.linalg.qr(both).Q[:, head:]
    turn_short, _, turn_long = torch.linalg.svd(spread.T @ completion)
    short = torch.cat([leading, rest @ turn_short], dim=1)
    return Directions(wide, short, sigma[:head], completion @ turn_long.T)
