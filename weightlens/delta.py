"""What a delta is: the change of one weight matrix, dense or as low-rank factors.

A LoRA delta is scale * B @ A. It is never multiplied out to be measured: `Factored.compact` brings
it to left * diag(sigma) * rightᵀ with orthonormal columns on both sides in O((m + n) r²).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Compact:
    """A delta of low rank by its singular value decomposition.

    left: m x r and right: n x r, orthonormal columns; sigma: r singular values, descending.
    """

    left: Float[Tensor, "m r"]
    sigma: Float[Tensor, "r"]
    right: Float[Tensor, "n r"]


@dataclass(frozen=True)
class Dense:
    """A delta as one m x n matrix."""

    matrix: Float[Tensor, "m n"]

    @property
    def shape(self) -> tuple[int, int]:
        """(m, n)."""
        m, n = self.matrix.shape
        return m, n

    def dense(self) -> Float[Tensor, "m n"]:
        """The matrix itself."""
        return self.matrix

    def scaled(self, factor: float) -> "Dense":
        """The delta times a number."""
        return Dense(self.matrix * factor)

    def transposed(self) -> "Dense":
        """The delta of the transposed weight."""
        return Dense(self.matrix.T)

    def on(self, device: torch.device) -> "Dense":
        """The delta with its matrix on a device."""
        return Dense(self.matrix.to(device))

    def is_zero(self) -> bool:
        """Whether every entry is exactly zero."""
        return not bool(torch.any(self.matrix))


@dataclass(frozen=True)
class Factored:
    """A delta as scale * B @ A.

    b: m x r, a: r x n, float32; scale: alpha / r for LoRA, alpha / sqrt(r) with rsLoRA.
    """

    b: Float[Tensor, "m r"]
    a: Float[Tensor, "r n"]
    scale: float = 1.0

    @property
    def shape(self) -> tuple[int, int]:
        """(m, n)."""
        return self.b.shape[0], self.a.shape[1]

    @property
    def rank(self) -> int:
        """r, the number of columns of B."""
        return self.b.shape[1]

    def dense(self) -> Float[Tensor, "m n"]:
        """The product, for where only a matrix will do (writing a merged weight)."""
        return (self.b * self.scale) @ self.a

    def scaled(self, factor: float) -> "Factored":
        """The delta times a number; the factors stay as they are."""
        return Factored(self.b, self.a, self.scale * factor)

    def transposed(self) -> "Factored":
        """The delta of the transposed weight: (B A)ᵀ = Aᵀ Bᵀ."""
        return Factored(self.a.T, self.b.T, self.scale)

    def on(self, device: torch.device) -> "Factored":
        """The delta with its factors on a device."""
        return Factored(self.b.to(device), self.a.to(device), self.scale)

    def is_zero(self) -> bool:
        """Whether the product is zero for certain: a factor of zeros, or the scale zero.

        LoRA starts with B = 0, so an untrained adapter is recognised.
        """
        return self.scale == 0 or not bool(torch.any(self.b)) or not bool(torch.any(self.a))

    def cancels(self) -> bool:
        """Whether the product is zero to within the rounding of its factors:

            ‖B A‖ ≤ eps Σⱼ ‖bⱼ‖ ‖aⱼ‖        bⱼ, aⱼ: columns of B, rows of A; eps of float32

        which is how far the product moves when every entry of both factors moves by half an eps of
        itself. An adapter stacked on its opposite cancels without either factor being zero.
        """
        if self.is_zero():
            return True
        b, a = self.b.double(), self.a.double()
        core = torch.linalg.qr(b, mode="r").R @ torch.linalg.qr(a.T, mode="r").R.T
        reach = (torch.linalg.vector_norm(b, dim=0) * torch.linalg.vector_norm(a, dim=1)).sum()
        eps = torch.finfo(torch.float32).eps
        return bool(torch.linalg.vector_norm(core) <= eps * reach)

    def compact(self) -> Compact:
        """The singular value decomposition, from QR of B and Aᵀ and an r x r SVD in float64."""
        left, r_left = torch.linalg.qr(self.b.double())
        right, r_right = torch.linalg.qr(self.a.double().T)
        u, sigma, vt = torch.linalg.svd(self.scale * (r_left @ r_right.T))
        return Compact(left @ u[:, : len(sigma)], sigma, right @ vt.T[:, : len(sigma)])


Delta = Dense | Factored

Measurable = Dense | Compact
"""A delta in the form in which it is measured."""


def measurable(delta: Delta) -> Measurable:
    """The delta as it is where dense, by its singular value decomposition where factored."""
    return delta.compact() if isinstance(delta, Factored) else delta


def added(first: Delta, second: Delta) -> Delta:
    """The sum of two deltas: by stacking factors where both are factored, else dense."""
    if isinstance(first, Factored) and isinstance(second, Factored):
        b = torch.cat([first.b * first.scale, second.b * second.scale], dim=1)
        return Factored(b, torch.cat([first.a, second.a], dim=0))
    return Dense(first.dense() + second.dense())
