"""Every deterministic method beside mergekit's: float32 in, bfloat16 out. The tables in
docs/mergekit.md are written by WEIGHTLENS_WRITE_DOCS=1."""

import os
import re
from functools import cache
from pathlib import Path

import pytest
import torch
from parity import (
    CASES,
    ON_SPHERES,
    TIED,
    UNTIED,
    Case,
    difference,
    exact,
    place,
    rounded_family,
    tied,
)

from weightlens.merge.methods import METHODS

DOCS = Path(__file__).parents[2] / "docs" / "mergekit.md"

ALLOWED = 1e-4
"""Share of entries that may differ, by one unit in the last place each."""

RANDOM = {"dare_linear", "dare_ties", "della", "della_linear"}
"""Compared where they draw nothing: at density 1."""

Row = tuple[list[str], list[int]]
"""What a line of a table is about, and what was counted."""


def test_every_method_is_compared() -> None:
    assert {case.method for case in (*CASES, *ON_SPHERES)} == set(METHODS)
    drawn = [case for case in CASES if case.method in RANDOM]
    assert all(min(case.parameters["density"]) == 1 for case in drawn)


# 1 + 2⁻⁷ follows 1 in bfloat16; −2⁻¹³³ (of the smallest size), ∓0 and 2⁻¹³³ are 1 apart
def test_neighbours_in_bfloat16_are_one_place_apart_across_zero_too() -> None:
    tiny = 2.0**-133
    values = torch.tensor([1 + 2.0**-7, 1, tiny, 0, -0.0, -tiny, -1, -1 - 2.0**-7]).bfloat16()
    assert place(values).diff().tolist()[2:5] == [-1, 0, -1]
    assert place(values).diff().tolist()[0] == place(values).diff().tolist()[-1] == -1


@cache
def parity_rows() -> list[Row]:
    rows = []
    for case in CASES:
        found = difference(case.ours(UNTIED), case.theirs(UNTIED))
        rows.append(_row(case, [found.entries, found.differing, found.largest]))
    return rows


@cache
def sphere_rows() -> list[Row]:
    rows = []
    for case in ON_SPHERES:
        ours, theirs, wide = case.ours(UNTIED), case.theirs(UNTIED), exact(case, UNTIED)
        between, own, other = (
            difference(a, b) for a, b in ((ours, theirs), (ours, wide), (theirs, wide))
        )
        assert own.largest <= 1
        counts = [between.entries, between.differing, between.largest]
        rows.append(_row(case, [*counts, own.differing, other.differing]))
    return rows


@cache
def tied_rows() -> list[Row]:
    of, rows = rounded_family(), []
    for case in TIED:
        differ = case.ours(of).bfloat16() != case.theirs(of).bfloat16()
        among = tied(case, of)
        counts = [among, differ & among, differ & ~among]
        rows.append(_row(case, [among.numel(), *(int(mask.sum()) for mask in counts)]))
    return rows


def _row(case: Case, counts: list[int]) -> Row:
    return [case.method, str(case.sources), case.said], counts


def test_at_most_one_entry_in_ten_thousand_differs_by_one_last_place() -> None:
    for about, (entries, differing, largest) in parity_rows():
        assert entries >= 150_000
        assert differing <= ALLOWED * entries and largest <= 1, (about, differing, largest)


def test_on_spheres_weightlens_is_as_near_to_float64_as_mergekit_or_nearer() -> None:
    for about, (entries, _, _, ours, theirs) in sphere_rows():
        assert ours <= ALLOWED * entries and ours <= theirs, (about, ours, theirs)


def test_where_deltas_are_tied_only_tied_entries_differ() -> None:
    for about, (_, among, differing, others) in tied_rows():
        assert others == 0 and differing <= among, about


TABLES = {
    "parity": (
        ["method", "sources", "parameters", "entries", "differing", "largest distance (ulp)"],
        parity_rows,
    ),
    "spheres": (
        ["method", "sources", "parameters", "entries", "differing", "largest distance (ulp)",
         "weightlens from float64", "mergekit from float64"],
        sphere_rows,
    ),
    "tied": (
        ["method", "sources", "parameters", "entries", "tied at a cut", "differing among them",
         "differing among the others"],
        tied_rows,
    ),
}  # fmt: skip


# Numbers of float32 sums, mergekit's above all, differ a little from processor to processor.
@pytest.mark.parametrize("name", TABLES)
def test_the_documented_table_is_the_measured_one(name: str) -> None:
    heads, rows = TABLES[name]
    text = DOCS.read_text(encoding="utf-8")
    marked = re.compile(
        rf"(<!-- {name} table: begin -->\n)(.*?)(<!-- {name} table: end -->)", re.DOTALL
    )
    written = marked.search(text)
    assert written is not None, f"docs/mergekit.md has no place for the {name} table"
    found = rows()
    if os.environ.get("WEIGHTLENS_WRITE_DOCS"):
        table = "\n".join(map(_line, [heads, ["---"] * len(heads), *_cells(found)]))
        DOCS.write_text(
            text[: written.end(1)] + table + "\n" + text[written.start(3) :], encoding="utf-8"
        )
        return
    lines = [line.strip("| ").split(" | ") for line in written[2].strip().splitlines()]
    assert lines[0] == heads and len(lines) == len(found) + 2
    for line, (about, counts) in zip(lines[2:], found, strict=True):
        assert [cell.strip() for cell in line[: len(about)]] == about
        documented = [int(cell.replace(",", "")) for cell in line[len(about) :]]
        for was, now in zip(documented, counts, strict=True):
            assert abs(was - now) <= max(ALLOWED * counts[0], 0.1 * now), (about, was, now)


def _cells(rows: list[Row]) -> list[list[str]]:
    return [[*about, *(f"{count:,}" for count in counts)] for about, counts in rows]


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
