"""The r-th largest of a streamed quantity, exactly, without sorting or holding it.

A sample brackets the value that is sought; one pass counts what lies above the bracket and collects
what lies inside it, as a rule a few hundredths of all entries; the value is then among those
collected. Where the sample misled (the value lies outside, or too much inside), two more passes
find the value digit by digit, in memory that does not grow, and a last one counts the entries equal
to it. Equal values are told apart by position, lowest first, so that exactly r entries are among
the r largest.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import hardshrink

from weightlens.merge.sampling import Quantities, Sample, Values, sampled
from weightlens.merge.streaming import Streamed

_COLLECTED = 1 << 23
"""Entries inside the bracket that are collected at most; the bracket is made for half as many."""
_SMALL = 1 << 20
"""A tensor of so many entries is collected whole."""

_MANY, _PICKED = 1 << 17, 1 << 12
"""Of more values than these, so many tell where the one that is sought lies among them."""

_DIGIT = 1 << 16

_ALL = 1 << 62


@dataclass(frozen=True)
class Cut:
    """Parts the r largest from the others: those above the value, and of those equal to it the ones
    up to a position."""

    value: float
    last: int

    def keeps(self, values: Float[Tensor, "block"], start: int) -> Float[Tensor, "block"]:
        """1 for the entries of the block that begins at `start` that are among the r largest, else
        0: as numbers, since torch multiplies by those several times faster."""
        last = self.last - start + 1
        whole = last >= values.numel()
        kept = (torch.ge if whole else torch.gt)(values, self.value, out=torch.empty_like(values))
        if 0 < last and not whole:
            kept[:last] = values[:last] >= self.value
        return kept

    def trimmed(self, values: Float[Tensor, "block"], start: int) -> Float[Tensor, "block"]:
        """The block with 0 for the entries whose size is not among the r largest sizes."""
        last = self.last - start + 1
        if last >= values.numel():
            return hardshrink(values, _below(self.value))
        kept = hardshrink(values, self.value)
        if last > 0:
            kept[:last] = hardshrink(values[:last], _below(self.value))
        return kept


def _below(value: float) -> float:
    """The next smaller number of float32: what is above it is not below `value`."""
    return float(np.nextafter(np.float32(value), np.float32(-np.inf)))


NOTHING = Cut(float("inf"), -1)
"""The cut for r = 0."""
EVERYTHING = Cut(float("-inf"), _ALL)
"""A cut that everything is above."""


def cuts(
    tensor: Streamed, quantities: Quantities, ranks: Sequence[Sequence[int]], *, width: int = 1
) -> list[list[Cut]]:
    """For each quantity the cut of each rank r asked of it, 0 to the number of entries.

    All are found together: one pass over the tensor, seldom four. width: blocks hold whole rows of
    so many entries.
    """
    if not any(rank for wanted in ranks for rank in wanted):
        return [[NOTHING] * len(wanted) for wanted in ranks]
    if tensor.entries <= _SMALL:
        samples = [Sample(())] * len(ranks)
    else:
        samples = sampled(tensor, quantities, len(ranks), width)
    searches = [
        [_Search(rank, sample, tensor.entries) for rank in wanted]
        for wanted, sample in zip(ranks, samples, strict=True)
    ]
    while any(search.open for group in searches for search in group):
        blocks: list[tuple[int, int]] = []
        for block in tensor.blocks(width):
            blocks.append((block.start, block.start + len(block)))
            for group, values in zip(searches, quantities(block), strict=True):
                for search in group:
                    search.see(values.numpy())
        for i, group in enumerate(searches):
            for search in group:
                tie = search.conclude()
                if tie is not None:
                    start, stop = blocks[tie.block]
                    block = tensor.block(start, stop)
                    equal = np.flatnonzero(quantities(block)[i].numpy() == tie.value)
                    search.settle(start + int(equal[tie.kept - 1]))
    return [[search.cut for search in group] for group in searches]


@dataclass(frozen=True)
class _Tie:
    """Of the entries equal to a value, the last one kept is the kept-th of a block."""

    value: float
    block: int
    kept: int


class _Search:
    """The search for one rank of one quantity, over one or more passes."""

    def __init__(self, rank: int, sample: Sample, entries: int) -> None:
        assert 0 <= rank <= entries, (rank, entries)
        self.rank, self.cut, self.open = rank, NOTHING, rank > 0
        self._digits: _Digits | None = None
        self._begin(*sample.bracket(rank, entries, _COLLECTED // 2))

    def _begin(self, high: np.float32, low: np.float32) -> None:
        self._high, self._low = high, low
        self._above = self._between = 0
        self._at_high: list[int] = []
        self._at_low: list[int] = []
        self._inside: list[Values] = []

    def see(self, values: Values) -> None:
        """Counts one block."""
        if not self.open:
            return
        if self._digits is not None:
            self._digits.see(values)
            return
        not_above = values <= self._high
        self._above += len(values) - int(np.count_nonzero(not_above))
        # few of the block, as a rule: what follows takes next to nothing. Positions, since numpy
        # takes those out in half the time that it needs for a mask
        near = values[np.flatnonzero(not_above & (values >= self._low))]
        below = near < self._high
        self._at_high.append(len(near) - int(np.count_nonzero(below)))
        # where both ends are one value, its entries count as those at the upper end
        inside = near[below & (near > self._low)]
        self._at_low.append(int(np.count_nonzero(below)) - len(inside))
        self._between += len(inside)
        if self._between > _COLLECTED:
            self._inside.clear()
        else:
            self._inside.append(inside)

    def conclude(self) -> _Tie | None:
        """Ends a pass: the cut is found, or what the next pass looks for. Returns where to look
        where only some of the entries equal to the value are kept."""
        if not self.open:
            return None
        if self._digits is not None:
            value = self._digits.conclude()
            if value is not None:
                self._digits = None
                self._begin(value, value)
            return None
        wanted = self.rank - self._above
        at_high, at_low = sum(self._at_high), sum(self._at_low)
        missed = not 1 <= wanted <= at_high + self._between + at_low
        if missed or self._between > _COLLECTED:
            self._inside = []
            self._digits = _Digits(self.rank)
            return None
        self.open = False
        blocks, self._inside = self._inside, []
        inside = np.concatenate(blocks)
        if wanted <= at_high:
            return self._settled(float(self._high), wanted, self._at_high)
        wanted -= at_high
        if wanted > len(inside):
            return self._settled(float(self._low), wanted - len(inside), self._at_low)
        value = _largest(inside, wanted)
        ties = [int(np.count_nonzero(block == value)) for block in blocks]
        more = int(np.count_nonzero(inside > value))
        return self._settled(float(value), wanted - more, ties)

    def _settled(self, value: float, kept: int, ties: list[int]) -> _Tie | None:
        """kept: how many of the entries equal to the value are; ties: how many each block has."""
        self.cut = Cut(value, _ALL)
        if kept == sum(ties):
            return None
        block = 0
        while kept > ties[block]:
            kept -= ties[block]
            block += 1
        return _Tie(value, block, kept)

    def settle(self, last: int) -> None:
        """Takes the position of the last entry kept."""
        self.cut = Cut(self.cut.value, last)


def _largest(values: Values, rank: int) -> np.float32:
    """The rank-th largest, from 1. Of many, a sample tells between which it ought to lie, and those
    are picked out first: np.partition of all takes several times longer."""
    if len(values) > _MANY:
        sample = Sample((values[:: len(values) // _PICKED],))
        high, low = sample.bracket(rank, len(values), len(values))
        at_most = values <= high
        above = len(values) - int(np.count_nonzero(at_most))
        near = values[np.flatnonzero(at_most & (values >= low))]
        if 0 < rank - above <= len(near):
            values, rank = near, rank - above
    return np.partition(values, len(values) - rank)[len(values) - rank]


class _Digits:
    """The search for the r-th largest by the two 16-bit digits of its bits, a pass for each."""

    def __init__(self, rank: int) -> None:
        self._wanted, self._first = rank, -1
        self._counts = np.zeros(_DIGIT, np.int64)

    def see(self, values: Values) -> None:
        """Counts one block: the first digits, then the second ones after the one found."""
        bits = values.view(np.uint32)
        # integers in the order of the numbers
        keys = np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31))
        digits = keys >> 16
        if self._first >= 0:
            digits = keys[digits == self._first] % _DIGIT
        self._counts += np.bincount(digits, minlength=_DIGIT)

    def conclude(self) -> np.float32 | None:
        """Ends a pass; the value after the second."""
        from_above = np.cumsum(self._counts[::-1])
        place = int(np.searchsorted(from_above, self._wanted))
        digit = _DIGIT - 1 - place
        if self._first < 0:
            self._wanted -= int(from_above[place] - self._counts[digit])
            self._first, self._counts = digit, np.zeros(_DIGIT, np.int64)
            return None
        key = self._first * _DIGIT + digit
        bits = key ^ (1 << 31) if key >> 31 else key ^ 0xFFFFFFFF
        return np.uint32(bits).view(np.float32)
