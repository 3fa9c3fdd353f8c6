"""Tables of a page: everything escaped, numbers to the right, in a box that scrolls by itself."""

from collections.abc import Iterable, Sequence
from html import escape


def html_table(
    head: Sequence[str], rows: Iterable[Sequence[str]], *, label: str, words: int = 1
) -> str:
    """A table whose first column names its rows.

    label: what a reader who cannot see is told that it is. words: how many columns from the left
    hold words rather than numbers.
    """
    left = [" class='left'" if i < words else "" for i in range(len(head))]
    columns = "".join(
        f"<th scope='col'{side}>{escape(name)}</th>" for name, side in zip(head, left, strict=True)
    )
    body = "".join(f"<tr>{_row(row, left)}</tr>" for row in rows)
    return (
        f"<div class='scroll' tabindex='0' role='region' aria-label='{escape(label)}'><table>"
        f"<thead><tr>{columns}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _row(cells: Sequence[str], left: Sequence[str]) -> str:
    first, *others = cells
    shown = "".join(
        f"<td{side}>{escape(cell)}</td>" for cell, side in zip(others, left[1:], strict=True)
    )
    return f"<th scope='row' class='left'>{escape(first)}</th>{shown}"


def definitions(entries: Iterable[tuple[str, str]]) -> str:
    """Names and what they are, beside each other."""
    shown = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in entries)
    return f"<dl class='facts'>{shown}</dl>"
