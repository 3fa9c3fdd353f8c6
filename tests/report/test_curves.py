"""Mean curves over the layers of a module."""

import pytest
from samples import FUSED, matrix, model

from weightlens.report.curves import chance_alone, mean_curves
from weightlens.survey.result import CurveRecord, MatrixRecord, ModelRecord


def with_curve(layer: int, norm: float, k: list[int], column: list[float]) -> MatrixRecord:
    made = matrix(layer, "mlp.up_proj", (8, 4))
    return made.model_copy(
        update={
            "delta": made.delta.model_copy(update={"norm": norm}),
            "curve": CurveRecord(k=k, column=column, row=column, both=column),
        }
    )


def of(*matrices: MatrixRecord) -> ModelRecord:
    return model("m").model_copy(update={"matrices": list(matrices)})


def test_the_mean_is_weighted_by_delta_energy() -> None:
    # energies 1 and 3²: (1 · 0.1 + 9 · 0.2) / 10 = 0.19
    (curve,) = mean_curves(
        of(with_curve(0, 1.0, [1, 4], [0.1, 1.0]), with_curve(1, 3.0, [1, 4], [0.2, 1.0]))
    )
    assert curve.module == "up_proj"
    assert curve.share == (0.25, 1.0)
    assert curve.ranks == (1, 4)
    assert curve.overlap["column"] == pytest.approx((0.19, 1.0))
    # shape 8 x 4: k/m, k/n and their product
    assert curve.chance["column"] == (0.125, 0.5)
    assert curve.chance["row"] == (0.25, 1.0)
    assert curve.chance["both"] == (0.03125, 0.5)


def test_ranks_that_only_one_layer_has_are_left_out() -> None:
    (curve,) = mean_curves(
        of(
            with_curve(0, 1.0, [1, 2, 4], [0.1, 0.5, 1.0]),
            with_curve(1, 1.0, [1, 3, 4], [0.3, 0.9, 1.0]),
        )
    )
    assert curve.ranks == (1, 4)
    assert curve.overlap["column"] == pytest.approx((0.2, 1.0))


def test_curves_without_common_ranks_are_interpolated_where_all_reach() -> None:
    (curve,) = mean_curves(
        of(
            with_curve(0, 1.0, [1, 3], [0.2, 0.6]),
            with_curve(1, 1.0, [2, 4], [0.4, 0.8]),
        )
    )
    # both lie on 0.2 k
    assert curve.ranks == (2, 3)
    assert curve.overlap["column"] == pytest.approx((0.4, 0.6))


def test_parts_have_curves_of_their_own_and_matrices_without_one_have_none() -> None:
    curves = mean_curves(model("m", FUSED))
    assert [c.module for c in curves if c.part][:3] == [
        "qkv_proj.query",
        "qkv_proj.key",
        "qkv_proj.value",
    ]
    bare = [m.model_copy(update={"curve": None}) for m in model("m").matrices]
    assert mean_curves(of(*bare)) == []


def test_chance_is_shared_by_modules_whose_shapes_give_the_same_line() -> None:
    curves = [c for c in mean_curves(model("m")) if not c.part]
    # k/m of k/min(m, n): 1 for m ≤ n, 64/176 for gate and up; k/n: 64/176 for down, 1/2 for k, v
    assert chance_alone(curves, "column") == set()
    assert chance_alone(curves, "row") == {"down_proj"}
