"""How much of a delta rounding to the stored dtype alone would put there.

    rounding_share = Σ ulp(w)² / 12 / ‖Δ‖²

over all entries w of the stored tuned tensor: an error uniform within half a unit in the last place
has variance ulp² / 12. A share near 1 says that the delta is mostly rounding, not learning.
"""

import torch
from jaxtyping import Float
from torch import Tensor


def rounding_energy(stored: Float[Tensor, "..."]) -> float:
    """Σ ulp(w)² / 12 for the dtype that the tensor is stored in.

    The unit in the last place of w is eps * 2^e for 2^e <= |w| < 2^(e+1), and that of the smallest
    normal number below it.
    """
    info = torch.finfo(stored.dtype)
    magnitude = stored.double().abs().clamp(min=info.smallest_normal)
    _, exponent = torch.frexp(magnitude)  # |w| = f 2^exponent with f in [1/2, 1)
    ulp = info.eps * torch.exp2(exponent.double() - 1)
    return float(ulp.square().sum()) / 12
