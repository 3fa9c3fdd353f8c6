"""Heatmaps in the terminal: a number in every cell, on a block of colour where there is colour."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions
from rich.style import Style
from rich.text import Text

from weightlens.report.colours import CELL_INK, about_chance
from weightlens.report.numbers import four_wide

_NARROW, _WIDE = 6, 10
_BETWEEN = 3
_HEADER_LINES = 4


@dataclass(frozen=True)
class HeatBlocks:
    """Numbers, by default ratios to chance: a map for each title, all of one shape.

    The maps stand side by side where the terminal is wide enough, else one below the other, and
    columns that do not fit continue below. corner: what the lines are. write, colour: a number as
    text of at most six characters, and what is behind it.
    """

    corner: str
    lines: Sequence[str]
    columns: Sequence[str]
    maps: Mapping[str, Sequence[Sequence[float | None]]]
    write: Callable[[float], str] = four_wide
    colour: Callable[[float], str] = about_chance

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        """The maps, fitted to the width of the console."""
        margin = max(map(len, [self.corner, *self.lines])) + 1
        cell = self._cell_width()
        whole = max(margin + cell * len(self.columns), *map(len, self.maps))
        if len(self.maps) * (whole + _BETWEEN) - _BETWEEN <= options.max_width:
            blocks = [
                self._block(title, range(len(self.columns)), margin, cell) for title in self.maps
            ]
            for parts in zip(*blocks, strict=True):
                yield _beside(parts, whole)
            yield Text()
            return
        fitting = max(1, (options.max_width - margin) // cell)
        for title in self.maps:
            for first in range(0, len(self.columns), fitting):
                shown = range(first, min(first + fitting, len(self.columns)))
                yield from self._block(title, shown, margin, cell)
                yield Text()

    def _cell_width(self) -> int:
        longest = max((len(p) for name in self.columns for p in _pieces(name)), default=0)
        return min(max(longest + 1, _NARROW), _WIDE)

    def _block(self, title: str, shown: range, margin: int, cell: int) -> list[Text]:
        heads = [wrapped(self.columns[j], cell - 1) for j in shown]
        height = max(map(len, heads))
        block = [Text(title, style="bold")]
        for i in range(height):
            words = [([""] * (height - len(head)) + head)[i] for head in heads]
            corner = self.corner if i == height - 1 else ""
            block.append(
                Text.assemble(f"{corner:>{margin - 1}} ", *(f"{w:^{cell}}" for w in words))
            )
        for name, values in zip(self.lines, self.maps[title], strict=True):
            cells = [self._cell(values[j], cell) for j in shown]
            block.append(Text.assemble(f"{name:>{margin - 1}} ", *cells))
        return block

    def _cell(self, value: float | None, width: int) -> Text:
        if value is None:
            return Text(f"{'–':^{width}}", style="dim")
        style = Style(color=CELL_INK, bgcolor=self.colour(value))
        return Text(f"{self.write(value):^{width}}", style=style)


def _beside(parts: Sequence[Text], width: int) -> Text:
    line = Text()
    for part in parts[:-1]:
        line.append_text(part)
        line.append(" " * (width - part.cell_len + _BETWEEN))
    return line.append_text(parts[-1])


def _pieces(name: str) -> list[str]:
    """down_proj in two: down_ and proj; self_attn.q_proj in four."""
    return [piece for piece in re.split(r"(?<=[._/-])", name) if piece]


def wrapped(name: str, width: int) -> list[str]:
    """A name in lines of at most this width, broken at its dots and underscores; … where cut."""
    lines = [""]
    for piece in _pieces(name):
        cut = piece if len(piece) <= width else piece[: width - 1] + "…"
        if len(lines[-1]) + len(cut) <= width:
            lines[-1] += cut
        else:
            lines.append(cut)
    lines = [line for line in lines if line]
    return lines if len(lines) <= _HEADER_LINES else ["…", *lines[1 - _HEADER_LINES :]]
