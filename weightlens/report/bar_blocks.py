"""Blocks of the first screen: a heading, and a line for each value with a bar and its numbers.

One look for scores and for overlaps. The bars say nothing that the numbers do not, and are hidden
from those who have a page read to them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape


@dataclass(frozen=True)
class Bar:
    """A line. at, low, high, mark: places on the scale, 0 to 1; mark: for comparison, as chance.

    kind: what stands behind the name (base, source, merge), empty for nothing. remark: below the
    line. strong: the line that a block is about.
    """

    name: str
    value: str
    at: float
    kind: str = ""
    interval: str = ""
    low: float | None = None
    high: float | None = None
    mark: float | None = None
    remark: str = ""
    strong: bool = False


@dataclass(frozen=True)
class Block:
    """title: what was measured; about: how, and which way is good."""

    title: str
    about: str
    bars: Sequence[Bar]


def bar_block(block: Block) -> str:
    """A block as HTML."""
    rows = "".join(map(_row, block.bars))
    return (
        f"<section class='block'><h3>{escape(block.title)} <small>{escape(block.about)}</small>"
        f"</h3><table class='bars'><tbody>{rows}</tbody></table></section>"
    )


def bar_blocks(blocks: Sequence[Block]) -> str:
    """Beside each other where there is room."""
    return f"<div class='blocks'>{''.join(map(bar_block, blocks))}</div>" if blocks else ""


def _row(bar: Bar) -> str:
    strong = " class='strong'" if bar.strong else ""
    told = bar.kind and bar.kind != bar.name
    kind = f" <small class='kind'>{escape(bar.kind)}</small>" if told else ""
    remark = (
        f"<tr class='remark'><td></td><td colspan='3'>{escape(bar.remark)}</td></tr>"
        if bar.remark
        else ""
    )
    return (
        f"<tr{strong}><th scope='row'>{escape(bar.name)}{kind}</th>"
        f"<td class='track' aria-hidden='true'>{_track(bar)}</td>"
        f"<td class='value'>{escape(bar.value)}</td>"
        f"<td class='interval'>{escape(bar.interval)}</td></tr>{remark}"
    )


def _track(bar: Bar) -> str:
    parts = [f"<i class='fill' style='width:{_place(bar.at)}'></i>"]
    if bar.low is not None and bar.high is not None:
        width = _place(max(bar.high - bar.low, 0.0))
        parts.append(f"<i class='span' style='left:{_place(bar.low)};width:{width}'></i>")
    if bar.mark is not None:
        parts.append(f"<i class='mark' style='left:{_place(bar.mark)}'></i>")
    return f"<span>{''.join(parts)}</span>"


def _place(share: float) -> str:
    return f"{100 * min(max(share, 0.0), 1.0):.2f}%"
