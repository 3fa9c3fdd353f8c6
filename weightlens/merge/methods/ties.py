"""TIES: trim every delta to its largest entries, elect a sign per entry, average those that agree.

    trim    m_i = 1 where |δ_i| is among its k largest      k = max(1, ⌊density_i · n⌋)
    elect and add as in weightlens.merge.sparse

Yadav et al. 2023, arXiv:2306.01708, section 3. Of entries of equal size those of the lowest
position stay, so that there are exactly k.
"""

from typing import ClassVar, Literal

from weightlens.merge.selection import cuts
from weightlens.merge.sparse import Sparse, Trim
from weightlens.merge.streaming import Streamed


class Ties(Sparse):
    """Parameters as in Sparse; normalize is on by default."""

    method: Literal["ties"] = "ties"
    passes: ClassVar[str] = "two-pass"
    elects: ClassVar[bool] = True
    normalize: bool = True

    def trimming(self, tensor: Streamed) -> Trim:
        """The k largest of each source stay."""
        ranks = [[_kept(density, tensor.entries)] for density in self.density]
        found = cuts(tensor, lambda block: [d.abs() for d in block.sources], ranks)
        return lambda block: [
            delta if density >= 1 else cut.trimmed(delta, block.start)
            for delta, density, (cut,) in zip(block.sources, self.density, found, strict=True)
        ]


def _kept(density: float, entries: int) -> int:
    """k; 0 where nothing stays, and where there is nothing to find out."""
    if not 0 < density < 1 or not entries:
        return 0
    return max(1, int(density * entries))
