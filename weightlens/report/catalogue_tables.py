"""The tasks and suites that there are, as rich tables."""

from collections.abc import Mapping, Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from weightlens.evaluate.catalogue import Listing
from weightlens.evaluate.suites import SuiteEntry
from weightlens.report.fitting import Fitting

_WIDE = 120
"""Columns of a terminal from which on a line a task is easier to read than a paragraph."""


def catalogue_tables(
    listings: Sequence[Listing], suites: Mapping[str, Sequence[SuiteEntry]]
) -> list[RenderableType]:
    """A line a task, with what it needs, and a line a suite."""
    tasks = Table(box=box.SIMPLE_HEAD)
    for name, justify in (("task", "left"), ("questions", "right"), ("metric", "left")):
        tasks.add_column(name, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    tasks.add_column("what it asks; licence; data; needs", ratio=1)
    narrow: list[RenderableType] = []
    for listing in listings:
        count = "" if listing.questions is None else str(listing.questions)
        tasks.add_row(listing.name, count, listing.metric, _about(listing))
        head = (listing.name, listing.metric, *([f"{count} questions"] if count else []))
        narrow.append(Text(" · ".join(head), style="bold"))
        narrow.append(Padding(Text(_about(listing)), (0, 0, 0, 4), expand=False))
    shown = Fitting(tasks, Group(*narrow, ""), needed=_WIDE)
    lines = [f"suite {name}: {', '.join(map(_entry, entries))}" for name, entries in suites.items()]
    more = (
        "task drift: how far each model has moved from the first on its answers to the other tasks",
        "A task of your own is a YAML file: --task FILE.yaml",
    )
    return [shown, *lines, *more]


def _about(listing: Listing) -> str:
    needs = f"; needs {', '.join(listing.needs)}" if listing.needs else ""
    return f"{listing.about}; {listing.licence}; data: {listing.data}{needs}"


def _entry(entry: SuiteEntry) -> str:
    parts = [f"{entry.limit} questions"] if entry.limit else []
    parts += [f"{entry.draws} draws"] if entry.draws else []
    return f"{entry.task} ({', '.join(parts)})" if parts else entry.task
