"""Where matrices are factorised: named beforehand, recorded, and part of what a run is."""

import json
from pathlib import Path

import pytest
import torch
from checkpoints import Folders
from safetensors.torch import load_file
from typer.testing import CliRunner

from weightlens.device import named_device
from weightlens.errors import CheckFailed, InputError
from weightlens.merge.engine import run_merge
from weightlens.merge.extract import extract_adapter
from weightlens.merge.identity import plan_hash
from weightlens.merge.opening import hold_sources
from weightlens.merge.plan import make_plan
from weightlens.merge.rebuilding import rebuild_merge
from weightlens.merge.resolution import parse_recipe
from weightlens.spectral.lowrank import Truncation
from weightlens_cli.main import app

HAS_CUDA = torch.cuda.is_available()


def strips(folders: Folders, side: str) -> str:
    return (
        f"merge_method: task_arithmetic\nbase_model: {folders.base}\nmodels:\n"
        f"- {{model: {folders.full}, parameters: {{weight: 1.0}}}}\n"
        f"- {{model: {folders.adapter}, parameters: {{weight: 0.5}}}}\n"
        f"transforms: [{{strip: {{side: {side}, strength: 1}}}}]\nout_dtype: float32\n"
    )


@pytest.mark.skipif(HAS_CUDA, reason="there is one")
def test_a_device_that_is_not_there_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["merge", "none.yaml", str(tmp_path / "o"), "--device", "cuda"])
    assert done.exit_code == 2 and "no CUDA device" in done.output
    with pytest.raises(InputError, match="no CUDA device"):
        run_merge(tmp_path / "none.yaml", tmp_path / "o", device="cuda")
    done = CliRunner().invoke(app, ["extract", "a", "b", str(tmp_path / "o"), "--device", "cuda"])
    assert done.exit_code == 2 and "no CUDA device" in done.output
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["mps", "gpu"])
def test_other_devices_are_refused(name: str) -> None:
    with pytest.raises(InputError, match=f"--device {name}"):
        named_device(name)


def test_a_run_on_another_device_is_another_run(folders: Folders) -> None:
    """Its matrices are rounded otherwise: neither goes on from what the other has left."""
    recipe = parse_recipe("merge_method: linear\nmodels: [{model: a, parameters: {weight: 1}}]\n")
    tensors = load_file(folders.base / "model.safetensors")
    plan = make_plan(recipe, hold_sources(recipe, {"a": tensors}))
    here, there = (plan_hash(plan, [], seed=0, device=torch.device(d)) for d in ("cpu", "cuda"))
    assert here == plan_hash(plan, [], seed=0) != there


def test_the_device_is_recorded_and_named_where_bytes_differ(
    tmp_path: Path, folders: Folders
) -> None:
    (tmp_path / "recipe.yaml").write_text(strips(folders, "column"))
    made = run_merge(tmp_path / "recipe.yaml", tmp_path / "out")
    record = tmp_path / "out" / "weightlens.json"
    said = json.loads(record.read_text())
    assert made.device == said["device"] == "cpu"
    said["device"], name = "cuda", next(iter(said["checksums"]))
    said["checksums"][name] = "0" * 32
    record.write_text(json.dumps(said))
    with pytest.raises(CheckFailed, match="it was made on cuda, this is cpu"):
        rebuild_merge(record, tmp_path / "again")


@pytest.mark.skipif(not HAS_CUDA, reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("side", ["column", "row", "both", "either"])
def test_a_gpu_strips_as_the_processor_does(tmp_path: Path, folders: Folders, side: str) -> None:
    (tmp_path / "recipe.yaml").write_text(strips(folders, side))
    for device in ("cpu", "cuda"):
        run_merge(tmp_path / "recipe.yaml", tmp_path / device, device=device)
    here, there = (load_file(tmp_path / d / "model.safetensors") for d in ("cpu", "cuda"))
    assert all(torch.allclose(here[n], there[n], rtol=1e-4, atol=1e-6) for n in here)


@pytest.mark.skipif(not HAS_CUDA, reason="needs an NVIDIA GPU")
@pytest.mark.parametrize("by", [Truncation("rank", 4), Truncation("energy", 0.9)])
def test_a_gpu_extracts_as_the_processor_does(
    tmp_path: Path, folders: Folders, by: Truncation
) -> None:
    here, there = (
        extract_adapter(folders.base, folders.full, tmp_path / device, size=by, device=device)
        for device in ("cpu", "cuda")
    )
    assert [m.rank for m in here.matrices] == [m.rank for m in there.matrices]
    for one, other in zip(here.matrices, there.matrices, strict=True):
        assert one.error == pytest.approx(other.error, abs=1e-6)
