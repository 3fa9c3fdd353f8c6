"""Orthonormal columns outside of a space that others span."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

_NEARLY_ALL = 0.9


def orthonormal_outside(
    columns: Float[Tensor, "d b"],
    within: Callable[[Tensor], Tensor],
    *,
    passes: int,
) -> tuple[Float[Tensor, "d b"], Float[Tensor, "b b"]]:
    """(Q, R) with Q R = the columns without their part within the space, Q orthonormal and outside.

    `within` tells the part of columns that lies in the space. Once is not enough: QR blows up what
    rounding has left of a column that nearly lies within. A pass that takes little from unit
    columns is the last ("twice is enough", Kahan), as is the one of that number.
    """
    columns, mixed = torch.linalg.qr(columns)
    for _ in range(passes):
        columns, left = torch.linalg.qr(columns - within(columns))
        mixed = left @ mixed
        if float(left.diagonal().abs().min()) > _NEARLY_ALL:
            break
    return columns, mixed
