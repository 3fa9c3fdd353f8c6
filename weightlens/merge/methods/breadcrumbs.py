"""Model breadcrumbs: drop the smallest entries of each delta, and the very largest.

    n_top  = ⌊γ_i n⌋ largest go, and of the rest the k = ⌊density_i n⌋ largest stay
             (fewer than n_top go where γ + density > 1: density comes first)

breadcrumbs adds what is left; breadcrumbs_ties elects signs before (weightlens.merge.sparse).
Davari and Belilovsky 2023, arXiv:2312.06795, section 3.
"""

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from jaxtyping import Float
from torch import Tensor

from weightlens.merge.method import PerSource, Share
from weightlens.merge.selection import Cut, cuts
from weightlens.merge.sparse import Sparse, Trim
from weightlens.merge.streaming import Streamed


class _Breadcrumbs(Sparse):
    passes: ClassVar[str] = "two-pass"
    gamma: Annotated[tuple[Share, ...], PerSource(default=0.01)] = ()

    def trimming(self, tensor: Streamed) -> Trim:
        """All but the largest stay, down to the density."""
        ranks = [
            _ranks(density, gamma, tensor.entries)
            for density, gamma in zip(self.density, self.gamma, strict=True)
        ]
        found = cuts(tensor, lambda block: [d.abs() for d in block.sources], ranks)

        def trimmed(delta: Float[Tensor, "block"], cut: Sequence[Cut], start: int) -> Tensor:
            # the largest leave by being taken from themselves
            upper, lower = cut
            return lower.trimmed(delta, start).sub_(upper.trimmed(delta, start))

        return lambda block: [
            delta if density >= 1 else trimmed(delta, cut, block.start)
            for delta, density, cut in zip(block.sources, self.density, found, strict=True)
        ]


def _ranks(density: float, gamma: float, entries: int) -> list[int]:
    """How many go from the top, and how many lie above the lower end of what stays."""
    if density >= 1:
        return [0, 0]
    kept = int(density * entries)
    dropped = min(int(gamma * entries), entries - kept)
    return [dropped, dropped + kept]


class Breadcrumbs(_Breadcrumbs):
    """gamma: share of the largest entries that go; the others as in Sparse."""

    method: Literal["breadcrumbs"] = "breadcrumbs"
    elects: ClassVar[bool] = False


class BreadcrumbsTies(_Breadcrumbs):
    """gamma: share of the largest entries that go; the others as in Sparse."""

    method: Literal["breadcrumbs_ties"] = "breadcrumbs_ties"
    elects: ClassVar[bool] = True
