"""Which step of training a checkpoint is, by its state and by its name."""

import json
from pathlib import Path

import pytest
from checkpoints import Folders, llama_tensors, moved, write_adapter, write_model

from weightlens.survey.opened import ModelLike
from weightlens.survey.overlap import measure_overlap
from weightlens.survey.steps import step_of


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("checkpoint-500", 500),
        ("checkpoint-0", 0),
        ("global_step1000", 1000),
        ("step_20", 20),
        ("run7-step300", 300),
        ("iter-0000040", 40),
        ("checkpoint", None),
        ("checkpoint-500-merged", None),
        ("checkpoint-last", None),
        ("base", None),
        ("llama-3-8b", None),
        ("500", None),
    ],
)
def test_a_folder_is_named_by_its_step_or_not(name: str, step: int | None, tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint-9" / name  # the folder above says nothing
    folder.mkdir(parents=True)
    assert step_of(folder) == step


def test_the_trainers_state_counts_more_than_the_name(tmp_path: Path) -> None:
    for name in ("final", "checkpoint-500"):
        (tmp_path / name).mkdir()
        state = {"global_step": 480, "epoch": 1.0, "log_history": []}
        (tmp_path / name / "trainer_state.json").write_text(json.dumps(state))
        assert step_of(tmp_path / name) == 480


@pytest.mark.parametrize("state", ["", "{", "[]", "3", "{}", '{"global_step": null}',
                                   '{"global_step": "480"}', "\udcff"])  # fmt: skip
def test_a_state_that_does_not_say_leaves_it_to_the_name(state: str, tmp_path: Path) -> None:
    for name, step in (("checkpoint-500", 500), ("final", None)):
        (tmp_path / name).mkdir()
        file = tmp_path / name / "trainer_state.json"
        file.write_bytes(state.encode(errors="surrogateescape"))
        assert step_of(tmp_path / name) == step


def test_a_relative_folder_has_its_real_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "checkpoint-500" / "inner").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "checkpoint-500")
    assert step_of(Path(".")) == 500
    assert step_of(Path("inner") / "..") == 500


def test_a_report_has_the_step_of_every_checkpoint(folders: Folders, tmp_path: Path) -> None:
    base = llama_tensors(0)
    full = write_model(tmp_path / "checkpoint-500", moved(base, 1))
    adapter = write_adapter(tmp_path / "lora" / "checkpoint-20", base)
    other = write_adapter(tmp_path / "lora" / "checkpoint-30", base, seed=6)
    (other / "trainer_state.json").write_text(json.dumps({"global_step": 31}))
    tuned: list[ModelLike] = [
        full, adapter, f"{folders.base}+{adapter}", other, f"{adapter}+{other}",
        folders.full, folders.adapter, moved(base, 1),
    ]  # fmt: skip
    report = measure_overlap(folders.base, tuned)
    assert [model.step for model in report.models] == [
        500, 20, 20, 31, None, None, None, None,
    ]  # fmt: skip
    assert json.loads(report.to_json())["models"][0]["step"] == 500
