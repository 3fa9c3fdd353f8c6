"""Layer by module: means, labels, and parts that are not counted twice."""

import pytest
from samples import FUSED, matrix, model, overlap, stacks

from weightlens.report.grid import mean_cell, overlap_grid, stack_grid


def test_a_cell_is_the_mean_by_delta_energy_over_that_of_chance() -> None:
    # energies 1 and 4; overlaps 0.5 and 0.25, chances 0.25 and 0.125:
    # (0.5 + 4 · 0.25) / 5 = 0.3 over (0.25 + 4 · 0.125) / 5 = 0.15
    one, two = (
        matrix(0, "mlp.up_proj", (8, 8)).model_copy(update={"column": overlap(*read)})
        for read in ((0.5, 0.25), (0.25, 0.125))
    )
    pair = [
        m.model_copy(update={"delta": m.delta.model_copy(update={"norm": norm})})
        for m, norm in ((one, 1.0), (two, 2.0))
    ]
    cell = mean_cell(pair, "column")
    assert cell is not None
    assert (cell.overlap, cell.chance) == (pytest.approx(0.3), pytest.approx(0.15))
    assert cell.ratio == pytest.approx(2)


def test_a_delta_of_zeros_has_no_cell() -> None:
    m = matrix(0, "mlp.up_proj", (8, 8))
    nothing = m.model_copy(
        update={
            "column": m.column.model_copy(update={"overlap": None, "z": None}),
            "delta": m.delta.model_copy(update={"norm": 0.0}),
        }
    )
    assert mean_cell([nothing], "column") is None


def test_parts_are_columns_after_their_whole_and_leave_it_as_it_is() -> None:
    fused = model("m", FUSED, layers=2)
    grid = overlap_grid(fused)
    assert grid.columns[:5] == (
        "qkv_proj", "qkv_proj.query", "qkv_proj.key", "qkv_proj.value", "o_proj",
    )  # fmt: skip
    assert grid.parts == {
        "qkv_proj.query", "qkv_proj.key", "qkv_proj.value", "gate_up_proj.gate", "gate_up_proj.up",
    }  # fmt: skip
    whole = [m for m in fused.matrices if m.part is None]
    alone = overlap_grid(fused.model_copy(update={"matrices": whole}))
    kept = [i for i, name in enumerate(grid.columns) if name not in grid.parts]
    for side in ("column", "row", "both"):
        assert alone.ratios(side) == [[line[i] for i in kept] for line in grid.ratios(side)]


def test_modules_with_one_last_name_keep_their_whole_names() -> None:
    names = {"attn.c_proj": (8, 8), "mlp.c_proj": (8, 8), "mlp.c_fc": (8, 8)}
    assert overlap_grid(model("m", names)).columns == ("attn.c_proj", "mlp.c_proj", "c_fc")


def test_stacks_are_read_as_they_are() -> None:
    grid = stack_grid(stacks(2))
    assert grid.layers == (0, 1)
    assert grid.columns == ("gate_up_proj", "down_proj")
    assert grid.ratios("column") == [[1.0, 1.0], pytest.approx([1.1, 1.1])]
