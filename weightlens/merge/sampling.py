"""A sample of a streamed quantity: between which values the r-th largest ought to lie."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from jaxtyping import Float
from torch import Tensor

from weightlens.merge.streaming import Block, Streamed

Quantities = Callable[[Block], Sequence[Float[Tensor, "block"]]]
"""What is ranked: one or more numbers for each entry of a block."""

Values = npt.NDArray[np.float32]

_ERRORS = 5
"""The bracket's half width in standard errors of the sample."""

_PIECES, _PIECE, _PART = (128, 1024), 512, 1 << 18
"""A sample: so many places, one in each of as many equal parts, and so many entries at each:
neighbours, or where blocks hold whole rows that are longer, entries of a row. The larger the
tensor, the narrower the bracket and the larger the sample: a place for each part of so many
entries, within these bounds."""
_GOLDEN = 0.6180339887498949
"""Places move on by this share of a part: no period of the tensor's columns stays in step."""


class Sample:
    """Some of a tensor's values, from so many places."""

    def __init__(self, places: Sequence[Values]) -> None:
        """As many values from each place; no places: nothing is known."""
        self._places = np.stack(places) if places else np.empty((0, 0), np.float32)
        self._sorted = np.sort(self._places, axis=None)[::-1]

    def bracket(self, rank: int, entries: int, most: int) -> tuple[np.float32, np.float32]:
        """Between which the rank-th largest of all entries ought to lie; infinite where the sample
        does not reach. most: entries that the bracket is made for."""
        count, share = self._sorted.size, rank / max(entries, 1)
        margin = min(_ERRORS * self._error(share), most / 2 / max(entries, 1))
        first, last = int((share - margin) * count), int((share + margin) * count) + 1
        return (
            self._sorted[first] if first > 0 else np.float32(np.inf),
            self._sorted[last] if last < count else np.float32(-np.inf),
        )

    def _error(self, share: float) -> float:
        """The standard error of the sample's share above the value that bounds a share: from how
        places differ, since neighbours are alike, and no less than that of single draws."""
        count, places = self._sorted.size, len(self._places)
        if not places:
            return 1.0
        value = self._sorted[min(int(share * count), count - 1)]
        above = np.count_nonzero(self._places > value, axis=1) / self._places.shape[1]
        alike = float(np.std(above)) / math.sqrt(places)
        # the last term: at both ends a draw or so
        return max(alike, math.sqrt((share * (1 - share) + 1 / count) / count))


def sampled(tensor: Streamed, quantities: Quantities, count: int, width: int) -> list[Sample]:
    """One of each of so many quantities. width: blocks hold whole rows of so many entries."""
    piece = max(_PIECE // width, 1) * width
    pieces = min(max(_PIECES[0], tensor.entries // _PART), _PIECES[1], tensor.entries // piece)
    found: list[list[Values]] = [[] for _ in range(count)]
    for i in range(pieces):
        place = int((i + i * _GOLDEN % 1) * (tensor.entries - piece) / pieces)
        start = place // width * width
        for values, drawn in zip(
            found, quantities(tensor.block(start, start + piece)), strict=True
        ):
            # of a wide row a part, from everywhere in it
            step = max(piece // _PIECE, 1)
            values.append(drawn.numpy()[i % step :: step][: piece // step])
    return [Sample(values) for values in found]
