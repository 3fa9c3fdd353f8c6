"""Overlap of several adapters summed, against NumPy on the dense sum, and from the command line."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoints import Folders, llama_tensors, write_adapter
from reference import check_overlaps
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from weightlens.errors import UnsupportedTensor
from weightlens.survey.compare import compare_models
from weightlens.survey.overlap import measure_overlap
from weightlens_cli.main import app

WEIGHTS = "adapter_model.safetensors"


@pytest.fixture
def second(folders: Folders, tmp_path: Path) -> Path:
    """Another adapter of the same base, of another rank and scale."""
    return write_adapter(
        tmp_path / "second", llama_tensors(0), rank=3, seed=9, config={"lora_alpha": 2}
    )


@pytest.fixture
def against(folders: Folders, tmp_path: Path) -> Path:
    """The adapter times −1, its scale a third and its B three times as large."""
    out = tmp_path / "against"
    out.mkdir()
    tensors = load_file(folders.adapter / WEIGHTS)
    save_file({n: -3 * t if "lora_B" in n else t for n, t in tensors.items()}, out / WEIGHTS)
    settings = {"peft_type": "LORA", "r": 4, "lora_alpha": 8 / 3}
    (out / "adapter_config.json").write_text(json.dumps(settings))
    return out


def dense_by_numpy(name: str, *adapters: tuple[Path, float]) -> torch.Tensor:
    """Σ s B A in float64, straight from the files, for pairs of folder and scale."""
    key = f"base_model.model.{name.removesuffix('.weight')}"
    total = 0.0
    for folder, scale in adapters:
        tensors = load_file(folder / WEIGHTS)
        a, b = (tensors[f"{key}.lora_{side}.weight"].double().numpy() for side in "AB")
        total = total + scale * np.matmul(b, a)
    return torch.from_numpy(total)


@pytest.mark.parametrize("on", ["", "base", "full"])
def test_a_sum_reads_like_the_dense_sum(folders: Folders, second: Path, on: str) -> None:
    """Alone, on the base, and on a fine-tune of it, whose own delta is added then."""
    first = {"": "", "base": f"{folders.base}+", "full": f"{folders.full}+"}[on]
    (model,) = measure_overlap(folders.base, [f"{first}{folders.adapter}+{second}"]).models
    base, full = (load_file(f / "model.safetensors") for f in (folders.base, folders.full))
    assert (model.kind, len(model.matrices)) == ("adapter", 14)
    for record in model.matrices:
        delta = dense_by_numpy(record.name, (folders.adapter, 8 / 4), (second, 2 / 3))
        if on == "full":
            delta = delta + (full[record.name].double() - base[record.name].double())
        check_overlaps(record, base[record.name], delta)


def test_the_order_of_a_sum_changes_nothing_but_rounding(folders: Folders, second: Path) -> None:
    there, back = measure_overlap(
        folders.base, [f"{folders.adapter}+{second}", f"{second}+{folders.adapter}"]
    ).models
    for one, two in zip(there.matrices, back.matrices, strict=True):
        assert one.column.overlap == pytest.approx(two.column.overlap, abs=1e-6)
        assert one.delta.norm == pytest.approx(two.delta.norm, rel=1e-6)


def test_ranks_may_add_up_beyond_the_matrix(folders: Folders) -> None:
    """7 x 4 = 28 columns of factors on matrices of 24 and 12 rows: 7 times one delta."""
    one, seven = measure_overlap(
        folders.base, [folders.adapter, "+".join([str(folders.adapter)] * 7)]
    ).models
    for single, stacked in zip(one.matrices, seven.matrices, strict=True):
        assert stacked.delta.norm == pytest.approx(7 * single.delta.norm, rel=1e-5)
        assert stacked.column.overlap == pytest.approx(single.column.overlap, abs=1e-5)
        assert stacked.delta.effective_rank == pytest.approx(single.delta.effective_rank, rel=1e-4)


@pytest.mark.parametrize("on_base", [False, True])
def test_opposite_adapters_are_a_zero_delta(folders: Folders, against: Path, on_base: bool) -> None:
    terms = [folders.base] * on_base + [folders.adapter, against]
    reference = "+".join(map(str, terms))
    (model,) = measure_overlap(folders.base, [reference], more=True).models
    for record in model.matrices:
        assert record.delta.norm == record.delta.spectral_norm == 0
        assert (record.column.overlap, record.row.overlap, record.both.overlap) == (None,) * 3
        assert record.column.chance > 0
        assert record.delta.effective_rank is None
        assert record.more == {}
    assert model.summary.all.column is None
    compared = compare_models(folders.base, [folders.adapter, reference])
    assert all(m.norms[1] == 0 and not m.pairs for m in compared.matrices)


def test_opposite_adapters_on_a_fine_tune_leave_the_fine_tune(
    folders: Folders, against: Path
) -> None:
    plain, summed = measure_overlap(
        folders.base, [folders.full, f"{folders.full}+{folders.adapter}+{against}"]
    ).models
    assert [m.column for m in plain.matrices] == [m.column for m in summed.matrices]


def test_a_sum_may_be_the_base(folders: Folders, second: Path) -> None:
    """(W + A + B) + (F − W − A − B) = F: the delta of the fine-tune from the summed base."""
    base, full = (load_file(f / "model.safetensors") for f in (folders.base, folders.full))
    summed = f"{folders.base}+{folders.adapter}+{second}"
    (model,) = measure_overlap(summed, [folders.full]).models
    for record in model.matrices:
        moved = dense_by_numpy(record.name, (folders.adapter, 8 / 4), (second, 2 / 3))
        weight = base[record.name].double() + moved
        check_overlaps(record, weight, full[record.name].double() - weight)


def test_a_folder_with_a_plus_in_its_name_is_one_term(folders: Folders, second: Path) -> None:
    odd = second.rename(second.parent / "second+third")
    (model,) = measure_overlap(folders.base, [f"{folders.base}+{folders.adapter}+{odd}"]).models
    name = model.matrices[0].name
    expected = dense_by_numpy(name, (folders.adapter, 8 / 4), (odd, 2 / 3))
    assert model.matrices[0].delta.norm == pytest.approx(float(expected.norm()), rel=1e-5)


def test_adapters_that_do_not_add_up_are_refused(folders: Folders, tmp_path: Path) -> None:
    file = folders.adapter / WEIGHTS
    save_file(load_file(file) | {"base_model.model.lm_head.weight": torch.ones(32, 24)}, file)
    with pytest.raises(UnsupportedTensor, match=r"lm_head\.weight"):
        measure_overlap(folders.base, [f"{folders.adapter}+{folders.adapter}"])


def test_the_command_takes_sums(folders: Folders, second: Path, tmp_path: Path) -> None:
    target, runner = tmp_path / "o.json", CliRunner()
    sums = [f"{folders.base}+{folders.adapter}+{second}", f"{folders.adapter}+{second}"]
    arguments = ["overlap", str(folders.base), *sums, "--json", str(target)]
    done = runner.invoke(app, arguments)
    assert done.exit_code == 0, done.output
    on_base, alone = json.loads(target.read_text())["models"]
    assert (on_base["model"], alone["model"]) == (sums[0], sums[1])
    assert on_base["matrices"] == alone["matrices"]
    failed = runner.invoke(app, ["overlap", str(folders.base), f"{folders.adapter}+./no where"])
    assert failed.exit_code == 2
    assert "'./no where'" in failed.stderr
