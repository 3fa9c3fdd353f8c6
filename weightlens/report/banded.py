"""Tables for terminals of any width: columns that do not fit continue in a table below."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console, ConsoleOptions, RenderableType
from rich.table import Table
from rich.text import Text

from weightlens.report.folding import folded, longest_line

_BETWEEN = 2
_NARROWEST = 10
"""Characters that each name has, however narrow the terminal."""


@dataclass(frozen=True)
class Line:
    """A cell a column. apart: it stands below a gap."""

    cells: Sequence[str | Text]
    style: str = ""
    apart: bool = False


@dataclass(frozen=True)
class Banded:
    """A table that is cut into bands, one below the other, where the terminal is too narrow for it.

    groups: the heads of columns that stay together; those of the first, which are names, begin
    every band. There are as few bands as can be, and they are about equally wide. Names are folded
    at their separators only where that saves a band.
    """

    title: str
    groups: Sequence[Sequence[str]]
    lines: Sequence[Line]

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> Iterator[RenderableType]:
        if self.title:
            yield Text(self.title, style="bold")
        limit, bands = self._fitted(options.max_width)
        for i, band in enumerate(bands):
            if i:
                yield ""
            yield self._table(band, limit)

    def _fitted(self, width: int) -> tuple[int, list[list[int]]]:
        """The most that a name has, and the columns of each band."""
        widths, many = self._widths(), len(self.groups[0])

        def room(limit: int) -> int:
            return width - sum(min(name, limit) + _BETWEEN for name in widths[:many])

        longest = max(widths[:many])
        least = min(longest, max(_NARROWEST, width // 3 // many))
        groups = self._grouped(widths, room(least))
        widest = max((_width(group, widths) for group in groups), default=0)
        fewest = len(_packed(groups, widths, room(least)))
        limit = longest
        while limit > least and (
            room(limit) < widest or len(_packed(groups, widths, room(limit))) > fewest
        ):
            limit -= 1
        for narrower in range(widest, room(limit)):
            bands = _packed(groups, widths, narrower)
            if len(bands) == fewest:
                return limit, bands
        return limit, _packed(groups, widths, room(limit))

    def _grouped(self, widths: Sequence[int], room: int) -> list[list[int]]:
        """The columns of each group but the first; each for itself where a group is too wide."""
        groups, at = list[list[int]](), len(self.groups[0])
        for heads in self.groups[1:]:
            columns = [*range(at, at + len(heads))]
            groups += [columns] if _width(columns, widths) <= room else [[c] for c in columns]
            at += len(heads)
        return groups

    def _widths(self) -> list[int]:
        heads = [head for group in self.groups for head in group]
        return [
            max(longest_line(head), *(longest_line(str(line.cells[i])) for line in self.lines), 0)
            for i, head in enumerate(heads)
        ]

    def _table(self, band: Sequence[int], limit: int) -> Table:
        heads = [head for group in self.groups for head in group]
        names = range(len(self.groups[0]))
        table = plain_table()
        for i in (*names, *band):
            table.add_column(heads[i], justify="left" if i in names else "right", no_wrap=True)
        for line in self.lines:
            if line.apart:
                table.add_section()
            shown = [Text(folded(str(line.cells[i]), limit)) for i in names]
            table.add_row(*shown, *(_text(line.cells[i]) for i in band), style=line.style)
        return table


def plain_table() -> Table:
    """Without edges: two blanks between columns, a rule below the heads."""
    return Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)


def _packed(groups: Sequence[list[int]], widths: Sequence[int], room: int) -> list[list[int]]:
    """Groups of columns in as few bands as hold at most this many characters each."""
    bands, left = [list[int]()], room
    for group in groups:
        needed = _width(group, widths)
        if bands[-1] and needed > left:
            bands.append([])
            left = room
        bands[-1] += group
        left -= needed + _BETWEEN
    return bands


def _width(columns: Sequence[int], widths: Sequence[int]) -> int:
    return sum(widths[c] for c in columns) + _BETWEEN * (len(columns) - 1)


def _text(cell: str | Text) -> Text:
    return cell if isinstance(cell, Text) else Text(cell)
