"""Tasks and suites in the terminal."""

import io

import pytest
from rich.console import Console

from weightlens.evaluate.catalogue import describe, suites
from weightlens.report.catalogue_tables import catalogue_tables


@pytest.mark.parametrize("width", [60, 80, 140])
def test_every_task_is_told_whole(width: int) -> None:
    console = Console(file=io.StringIO(), width=width, markup=False)
    console.print(*catalogue_tables(describe(), suites()), sep="\n")
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert max(len(line.rstrip()) for line in text.splitlines()) <= width
    assert ("\ngsm8k · accuracy · 1319 questions\n" in text) == (width < 120)
    one = " ".join(text.split())
    for listing in describe():
        assert listing.name in one
        if width < 120:
            assert f"{listing.about}; {listing.licence}; data: " in one
