"""`weightlens mergekit-yaml`: mergekit's command with our methods, against our own engine."""

from pathlib import Path

import pytest
import torch
from checkpoints import Folders, llama_tensors, moved, write_model
from safetensors.torch import load_file
from typer.testing import CliRunner

from weightlens.merge.engine import run_merge
from weightlens_cli.main import app

runner = CliRunner()


def recipe(method: str, folders: Folders, tmp_path: Path, parameters: str, name: str) -> Path:
    other = write_model(tmp_path / "other", moved(llama_tensors(0), 2))
    file = tmp_path / f"{name}.yaml"
    file.write_text(
        f"merge_method: {method}\nbase_model: {folders.base}\nmodels:\n- model: {folders.full}\n"
        f"  parameters: {{weight: 0.7}}\n- model: {other}\n  parameters: {{weight: 0.4}}\n"
        f"parameters: {parameters}\ndtype: float32\nout_dtype: bfloat16\n"
    )
    return file


def both(
    method: str, folders: Folders, tmp_path: Path, parameters: str, *options: str
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """The same merge by mergekit's engine and by ours."""
    theirs = recipe(f"weightlens_{method}", folders, tmp_path, parameters, "theirs")
    done = runner.invoke(app, ["mergekit-yaml", str(theirs), str(tmp_path / "theirs"), *options])
    assert done.exit_code == 0, (done.output, done.exception)
    ours = recipe(method, folders, tmp_path, parameters, "ours")
    run_merge(ours, tmp_path / "ours", seed=7)
    found = [load_file(tmp_path / side / "model.safetensors") for side in ("theirs", "ours")]
    assert found[0].keys() == found[1].keys()
    assert {tensor.dtype for tensor in found[0].values()} == {torch.bfloat16}
    return found[0], found[1]


@pytest.mark.parametrize(
    ("method", "parameters"),
    [("ties", "{density: 0.3, lambda: 0.9}"), ("dare_ties", "{density: 0.3}")],
)
def test_our_methods_in_mergekits_engine_write_our_bits(
    method: str, parameters: str, folders: Folders, tmp_path: Path
) -> None:
    theirs, ours = both(method, folders, tmp_path, parameters, "--random-seed", "7", "--quiet")
    for name in ours:
        assert torch.equal(theirs[name], ours[name]), name


def test_strip_in_mergekits_engine_is_our_strip(folders: Folders, tmp_path: Path) -> None:
    theirs, ours = both("strip", folders, tmp_path, "{target: 0.0}")
    for name in ours:
        assert torch.equal(theirs[name], ours[name]), name


def test_help_is_mergekits_own() -> None:
    done = runner.invoke(app, ["mergekit-yaml", "--help"])
    assert done.exit_code == 0
    assert "weightlens mergekit-yaml [OPTIONS] CONFIG_FILE OUT_PATH" in done.output
    assert "--lora-merge-cache" in done.output


def test_a_wrong_option_is_mergekits_to_refuse() -> None:
    done = runner.invoke(app, ["mergekit-yaml", "--no-such-option"])
    assert done.exit_code == 2
    assert "No such option" in done.stderr


def test_what_mergekit_refuses_is_one_line(folders: Folders, tmp_path: Path) -> None:
    file = recipe("weightlens_tise", folders, tmp_path, "{}", "typo")
    done = runner.invoke(app, ["mergekit-yaml", str(file), str(tmp_path / "out"), "--quiet"])
    assert done.exit_code == 2
    assert done.stderr.strip().splitlines()[-1] == (
        "error: mergekit: Unimplemented merge method weightlens_tise"
    )
