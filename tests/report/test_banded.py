"""Tables in terminals of any width: nothing is cut off, names least of all."""

import io

import pytest
from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.text import Text

from weightlens.report.banded import Banded, Line
from weightlens.report.fitting import Fitting
from weightlens.report.folding import folded, packed, shared_prefix

GROUPS = (("name",), ("first", "second"), ("third",), ("fourth",))
LINES = [Line(("a-rather-long-name", "1111", "2222", "3333", "4444")),
         Line(("b", "1", "2", "3", "4"), style="bold", apart=True)]  # fmt: skip
TABLE = Banded("what it shows", GROUPS, LINES)


def printed(what: RenderableType, width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, markup=False)
    console.print(what)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert isinstance(text, str)
    return [line.rstrip() for line in text.splitlines()]


def heads(lines: list[str]) -> list[list[str]]:
    """The words above each rule."""
    return [lines[i - 1].split() for i, line in enumerate(lines) if line.startswith("──")]


def test_what_fits_is_one_table() -> None:
    # 18 + 5 + 6 + 5 + 6 characters with two blanks between
    assert printed(TABLE, 48) == [
        "what it shows",
        "name                first  second  third  fourth",
        "────────────────────────────────────────────────",
        "a-rather-long-name   1111    2222   3333    4444",
        "",
        "b                       1       2      3       4",
    ]


def test_names_are_folded_where_that_saves_a_table() -> None:
    lines = printed(TABLE, 44)
    assert lines[1:5] == [
        "name            first  second  third  fourth",
        "────────────────────────────────────────────",
        "a-rather-long-   1111    2222   3333    4444",
        "name",
    ]


def test_what_does_not_fit_goes_on_below_with_the_names() -> None:
    assert printed(TABLE, 36) == [
        "what it shows",
        "name                first  second",
        "─────────────────────────────────",
        "a-rather-long-name   1111    2222",
        "",
        "b                       1       2",
        "",
        "name                third  fourth",
        "─────────────────────────────────",
        "a-rather-long-name   3333    4444",
        "",
        "b                       3       4",
    ]


def test_tables_below_each_other_are_few_and_even() -> None:
    many = Banded("", (("n",), *((f"column{i}",) for i in range(6))), [Line(("x", *"123456"))])
    # 1 + 4 times 2 + 7 characters would be room for four and two
    assert [len(found) for found in heads(printed(many, 37))] == [4, 4]


def test_columns_that_belong_together_part_only_where_they_must() -> None:
    assert heads(printed(TABLE, 24))[0][1:] == ["first"]


@pytest.mark.parametrize("width", range(20, 60))
def test_nothing_is_cut_off_in_any_width(width: int) -> None:
    lines = printed(TABLE, width)
    assert max(map(len, lines)) <= width
    text = "".join("".join(lines).split())
    assert "…" not in text
    assert all(cell in text for cell in ("1111", "2222", "3333", "4444", "first", "fourth"))
    assert all(found[0] == "name" for found in heads(lines))


@pytest.mark.parametrize("width", [40, 60])
def test_names_of_wide_characters_leave_the_numbers_whole(width: int) -> None:
    line = Line(("模型/完全安全微调-第一个版本的名字", "1111", "2222", "3333", "4444"))
    lines = printed(Banded("", GROUPS, [line]), width)
    assert max(map(cell_len, lines)) <= width
    assert all(any(number in row for row in lines) for number in ("1111", "2222", "3333", "4444"))
    assert not any("…" in row for row in lines)


def test_cells_keep_their_colours() -> None:
    console = Console(file=io.StringIO(), width=40, force_terminal=True, color_system="standard")
    console.print(Banded("", (("n",), ("v",)), [Line(("x", Text("9×", style="red")))]))
    assert "\x1b[31m9×" in console.file.getvalue()  # type: ignore[attr-defined]


def test_of_two_layouts_the_width_chooses() -> None:
    assert printed(Fitting(Text("a wide one"), Text("narrow")), 10) == ["a wide one"]
    assert printed(Fitting(Text("a wide one"), Text("narrow")), 9) == ["narrow"]
    assert printed(Fitting(Text("wide"), Text("narrow"), needed=30), 29) == ["narrow"]


@pytest.mark.parametrize(
    ("name", "width", "lines"),
    [
        ("short", 10, ["short"]),
        ("row overlap of safe-full", 12, ["row overlap", "of safe-full"]),
        ("org/model-7b-instruct", 12, ["org/", "model-7b-", "instruct"]),
        ("post_attention_layernorm", 16, ["post_attention_", "layernorm"]),
        ("undivided", 4, ["undi", "vide", "d"]),
        ("a-long-word and more", 8, ["a-long-", "word and", "more"]),
        ("two\nlines", 8, ["two", "lines"]),
    ],
)
def test_names_break_at_the_best_place_and_lose_nothing(
    name: str, width: int, lines: list[str]
) -> None:
    assert folded(name, width).split("\n") == lines


def test_a_list_breaks_between_its_items() -> None:
    assert packed(["weight*", "density* 1.0", "lambda 1.0"], 22) == ["weight*, density* 1.0,",
                                                                    "lambda 1.0"]  # fmt: skip
    assert packed(["much too long", "b"], 5) == ["much too long,", "b"]


def test_what_all_names_begin_with_leaves_something_of_each() -> None:
    assert shared_prefix(["a.b.c", "a.b.d.e"]) == "a.b."
    assert shared_prefix(["a.b", "a.b.c"]) == "a."
    assert shared_prefix(["ab.c", "a.c"]) == ""
    assert shared_prefix(["a.b.c"]) == ""
