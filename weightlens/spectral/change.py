"""How far a delta moves the base's own singular values.

    by index   σ'_i − σ_i,  and (σ'_i − σ_i) / σ_i
    in norm    ‖σ' − σ‖ / ‖σ‖

with σ the singular values of W and σ' those of W + Δ, both descending. The change at any index is
at most ‖Δ‖₂ (Weyl 1912) and ‖σ' − σ‖ at most ‖Δ‖_F (Mirsky 1960; both in Horn & Johnson, Matrix
Analysis, section 7.4). A delta that turns the singular vectors alone changes nothing here.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

_ROUNDING = 1e-7
"""σ / σ₁ below which `spectral.gram.singular_values` returns rounding, not numbers."""


@dataclass(frozen=True)
class SpectrumChange:
    """Change of the singular values.

    absolute: σ'_i − σ_i. relative: the same over σ_i, −1 or more, nan where σ_i is below 1e-7 σ₁.
    in_norm: ‖σ' − σ‖ / ‖σ‖, 0 or more, nan for a base of zeros.
    """

    absolute: Float[Tensor, "d"]
    relative: Float[Tensor, "d"]
    in_norm: float


def spectrum_change(before: Float[Tensor, "d"], after: Float[Tensor, "d"]) -> SpectrumChange:
    """The change from the base's singular values to the tuned matrix's; all d of each, descending.

    Measured in float64.
    """
    sigma = before.double()
    absolute = after.double() - sigma
    known = sigma > _ROUNDING * sigma[0]
    relative = torch.where(known, absolute / torch.where(known, sigma, 1.0), math.nan)
    norm = float(torch.linalg.vector_norm(sigma))
    change = float(torch.linalg.vector_norm(absolute))
    return SpectrumChange(absolute, relative, change / norm if norm else math.nan)
