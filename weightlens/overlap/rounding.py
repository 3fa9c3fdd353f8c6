"""How much of a delta rounding to the stored dtype alone would put there.

    rounding_share = Σ ulp(w)² / 12 / ‖Δ‖²

over all entries w of the stored tuned tensor: an error uniform within half a unit in the last place
has variance ulp² / 12. A share near 1 says that the delta is mostly rounding, not learning.
"""

import torch
from jaxtyping import Float
from torch import Tensor

_EXPONENT_BITS = {
    torch.float64: (torch.int64, 0x7FF0_0000_0000_0000),
    torch.float32: (torch.int32, 0x7F80_0000),
    torch.bfloat16: (torch.int16, 0x7F80),
    torch.float16: (torch.int16, 0x7C00),
}
"""The integer type of each dtype's bits, and the mask that leaves the exponent."""

_BLOCK = 1 << 20


def rounding_energy(stored: Float[Tensor, "..."]) -> float:
    """Σ ulp(w)² / 12 for the dtype that the tensor is stored in.

    The unit in the last place of w is eps * 2^e for 2^e <= |w| < 2^(e+1), and that of the smallest
    normal number below it. Raises KeyError for a dtype of 8 bits.
    """
    info = torch.finfo(stored.dtype)
    integers, mask = _EXPONENT_BITS[stored.dtype]
    squares = 0.0
    for block in stored.reshape(-1).split(_BLOCK):
        # without its mantissa and sign a number is 2^e
        powers = (block.view(integers) & mask).view(stored.dtype).clamp_(min=info.smallest_normal)
        squares += float(torch.linalg.vector_norm(powers, dtype=torch.float64)) ** 2
    return info.eps**2 * squares / 12
