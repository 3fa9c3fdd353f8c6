"""Which checkpoints belong to one run, and what they are called."""

import pytest
from samples import model

from weightlens.report.names import short_models
from weightlens.report.training import training_runs
from weightlens.survey.result import ModelRecord


def at(name: str, step: int | None) -> ModelRecord:
    return model(name, layers=1).model_copy(update={"step": step})


def test_checkpoints_are_ordered_by_step() -> None:
    found = [at("r/checkpoint-20", 20), at("r/checkpoint-5", 5), at("other", None)]
    (run,) = training_runs(found)
    assert run.name is None
    assert run.steps == (5, 20)
    assert [m.model for m in run.models] == ["r/checkpoint-5", "r/checkpoint-20"]


def test_one_step_is_no_training() -> None:
    assert training_runs([at("a", 10), at("b", None)]) == []


def test_equal_steps_are_different_runs_by_folder() -> None:
    runs = training_runs(
        [at(f"out/{run}/checkpoint-{s}", s) for run in ("a", "b") for s in (1, 2)]
        + [at("out/a", 3), at("lonely/step7", 7)]
    )
    assert [(run.name, run.steps) for run in runs] == [("a", (1, 2, 3)), ("b", (1, 2))]


@pytest.mark.parametrize(
    ("models", "names"),
    [
        (["x/base/full", "x/base/lora"], ["full", "lora"]),
        (["runs/a/ckpt", "runs/b/ckpt"], ["a/ckpt", "b/ckpt"]),
        (["org/model", "/tmp/model", "other"], ["org/model", "tmp/model", "other"]),
        (["same", "same"], ["same (1)", "same (2)"]),
        ([], []),
    ],
)
def test_names_are_as_short_as_they_can_be(models: list[str], names: list[str]) -> None:
    assert short_models(models) == names
