"""Two layouts of one thing, of which the terminal's width chooses."""

from collections.abc import Iterator
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderableType
from rich.measure import Measurement


@dataclass(frozen=True)
class Fitting:
    """The wide one where there is room for it, else the narrow one.

    needed: the width that it takes; if None, that of its longest line unbroken.
    """

    wide: RenderableType
    narrow: RenderableType
    needed: int | None = None

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> Iterator[RenderableType]:
        needed = self.needed
        if needed is None:
            unbounded = options.update(max_width=10_000)
            needed = Measurement.get(console, unbounded, self.wide).maximum
        yield self.wide if needed <= options.max_width else self.narrow
