"""The cache of factorisations as a table."""

from rich import box
from rich.console import RenderableType
from rich.table import Table

from weightlens.survey.cached import CacheListing


def cache_table(listing: CacheListing) -> list[RenderableType]:
    """One line for each shape, and the sums."""
    parts: list[RenderableType] = []
    if listing.entries:
        table = Table(box=box.SIMPLE_HEAD)
        table.add_column("matrix")
        for name in ("n", "vectors", "MB", "last used"):
            table.add_column(name, justify="right")
        for m, n in sorted({entry.shape for entry in listing.entries}):
            group = [entry for entry in listing.entries if entry.shape == (m, n)]
            known = [entry.vectors for entry in group]
            table.add_row(
                f"{m} x {n}",
                str(len(group)),
                str(known[0]) if len(set(known)) == 1 else f"{min(known)}–{max(known)}",
                f"{sum(entry.bytes for entry in group) / 1e6:,.1f}",
                f"{max(entry.used for entry in group):%Y-%m-%d %H:%M} UTC",
            )
        parts.append(table)
    if listing.unfinished:
        parts.append(f"{listing.unfinished} interrupted analyses wait to go on.")
    limit = f"{listing.limit / (1 << 30):g} GiB" if listing.limit else "nothing: the limit is 0"
    size = f"{listing.bytes / 1e6:,.1f} MB of {limit}"
    parts.append(f"{len(listing.entries)} factorisations, {size}; {listing.folder}")
    return parts
