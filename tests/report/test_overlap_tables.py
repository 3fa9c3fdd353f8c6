"""The terminal: numbers that read without colour, in any width."""

import io

import pytest
from rich.console import Console
from samples import LLAMA, everything, model, report, rounded, training

from weightlens.report.heat import HeatBlocks, wrapped
from weightlens.report.overlap_tables import overlap_tables
from weightlens.survey.result import OverlapReport

MAP = HeatBlocks("layer", ["0", "1"], ["q_proj", "up_proj"], {"column": [[1.5, None], [0.5, 12.3]]})


def printed(*what: object, width: int = 100, **options: object) -> str:
    console = Console(file=io.StringIO(), width=width, markup=False, **options)  # type: ignore[arg-type]
    console.print(*what, sep="\n")
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert isinstance(text, str)
    return text


def shown(which: OverlapReport, width: int = 100) -> str:
    return printed(*overlap_tables(which), width=width)


def test_a_heatmap_reads_without_colour() -> None:
    lines = [line.rstrip() for line in printed(MAP).splitlines()]
    assert lines == [
        "column",
        "        q_   up_",
        "layer  proj  proj",
        "    0  1.50   –",
        "    1  0.50  12.3",
        "",
    ]


@pytest.mark.parametrize("system", ["standard", "256", "truecolor"])
def test_cells_have_a_background_where_there_is_colour(system: str) -> None:
    text = printed(MAP, force_terminal=True, color_system=system, no_color=False)
    cells = [line for line in text.splitlines() if "1.50" in line]
    assert "\x1b[" in cells[0]
    assert " 1.50 " in cells[0]


def test_no_color_leaves_the_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    text = printed(MAP, force_terminal=True, color_system="truecolor")
    assert "48;2" not in text
    assert " 1.50 " in text


def test_column_and_row_stand_side_by_side_where_they_fit() -> None:
    assert "column overlap ÷ chance" + " " * 28 + "row overlap ÷ chance" in shown(
        report([model("m")])
    )
    narrow = shown(report([model("m")]), width=80)
    assert "column overlap ÷ chance\n" in "\n".join(s.rstrip() for s in narrow.splitlines()) + "\n"


def test_many_layers_and_modules_fit_in_a_hundred_columns() -> None:
    modules = {f"block_{i}.a_rather_long_projection_{i}": (16, 16) for i in range(20)}
    text = shown(report([model("m", {**LLAMA, **modules}, layers=48)]))
    lines = text.splitlines()
    assert max(map(len, lines)) <= 100
    # 27 columns in three bands of at most nine, for each side; a line a layer in every band
    assert sum(line.startswith("   47 ") for line in lines) == 2 * 3
    assert "…" in text


def test_everything_that_a_report_holds_is_told() -> None:
    text = shown(everything().model_copy(update={"partial": True}))
    for said in (
        "interrupted: 16 matrices",
        "\n .query ",
        "experts together, each stack as one block-diagonal matrix",
        "experts together: z of column overlap",
        "over training, all matrices",
        "12 by the partial path, 1 fell back to the exact one, 3 from the cache.",
    ):
        assert said in text


def test_the_line_for_all_counts_no_part_twice() -> None:
    line = next(s for s in shown(everything()).splitlines() if s.startswith("all "))
    assert line.split()[:2] == ["all", "16"]


@pytest.mark.parametrize("width", [40, 60, 80, 100, 120])
def test_every_module_is_named_in_every_table_of_any_width(width: int) -> None:
    lines = [line.rstrip() for line in shown(report([model("m")]), width).splitlines()]
    assert max(map(len, lines)) <= width
    tables = [i for i, line in enumerate(lines) if line.startswith("──")]
    assert tables
    for at in tables:
        assert lines[at - 1].startswith("module ")
        assert lines[at + 1].startswith("q_proj ")
        assert lines[at + 9].startswith("all ")


def test_eighty_columns_take_two_tables_and_a_hundred_one() -> None:
    def heads(width: int) -> list[list[str]]:
        lines = shown(report([model("m")]), width).splitlines()
        return [line.split() for line in lines if line.startswith("module ")]

    first = ["module", "n", "k", "column", "z", "row", "z"]
    second = ["both", "weighted", "‖Δ‖/‖W‖", "rounding"]
    assert heads(80) == heads(60) == [first, ["module", *second]]
    assert heads(100) == [[*first, *second]]


def test_further_metrics_keep_their_names_in_eighty_columns() -> None:
    made = model("m", layers=1)
    more = {"amplification_over_chance": 1.25, "rank_above_rounding": None}
    matrices = [m.model_copy(update={"more": more}) for m in made.matrices]
    text = shown(report([made.model_copy(update={"matrices": matrices})]), 80)
    assert text.count("amplification_over_chance ") == 2
    assert max(map(len, text.splitlines())) <= 80


def test_a_delta_that_is_mostly_rounding_is_warned_of_below_its_table() -> None:
    text = " ".join(shown(report([rounded("m", 2.43)]), 80).split())
    said = (
        "243.0 % warning: rounding to the file's dtype explains most of this delta (243 %); its "
        "overlaps say little about what was learned"
    )
    assert said in text
    assert "warning" not in shown(report([model("m")]))


def test_training_has_a_line_a_checkpoint_by_rising_step() -> None:
    text = shown(report(training([300, 20, 100])))
    table = text[text.index("over training") :].splitlines()
    assert [line.split()[:2] for line in table[3:6]] == [
        ["20", "checkpoint-20"],
        ["100", "checkpoint-100"],
        ["300", "checkpoint-300"],
    ]


def test_a_model_that_equals_the_base_is_said_to() -> None:
    made = model("same", layers=1)
    blank = {"overlap": None, "z": None, "std": None}
    unchanged = [
        m.model_copy(
            update={side: getattr(m, side).model_copy(update=blank) for side in ("column", "row")}
        )
        for m in made.matrices
    ]
    text = shown(report([made.model_copy(update={"matrices": unchanged})]))
    assert "same equals the base" in text


@pytest.mark.parametrize(
    ("name", "width", "lines"),
    [
        ("q_proj", 6, ["q_proj"]),
        ("down_proj", 5, ["down_", "proj"]),
        ("qkv_proj.query", 5, ["qkv_", "proj.", "query"]),
        ("intermediate", 6, ["inter…"]),
        ("a_b_c_d_e_f", 2, ["…", "d_", "e_", "f"]),
    ],
)
def test_names_break_at_dots_and_underscores(name: str, width: int, lines: list[str]) -> None:
    assert wrapped(name, width) == lines
