"""Checkpoints at a glance: counts against the tensors themselves, and no torch."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from checkpoints import Folders, llama_tensors, write_model
from safetensors.torch import load_file
from typer.testing import CliRunner

from weightlens.checkpoint.names import are_tied
from weightlens.errors import CheckpointError, InputError, ModelNotFound
from weightlens.merge.engine import run_merge
from weightlens.survey.inspect import inspect_model
from weightlens.survey.spectra import measure_spectra
from weightlens_cli.main import app


def test_counts_are_those_of_the_tensors(folders: Folders) -> None:
    tensors = load_file(folders.base / "model.safetensors")
    report = inspect_model(str(folders.base))
    assert report.tensors == len(tensors)
    assert report.parameters == sum(t.numel() for t in tensors.values())
    assert report.bytes == 4 * report.parameters
    assert report.dtypes == {"F32": report.parameters}
    assert (report.layers, report.files, report.kind) == (2, 1, "full")
    assert report.architecture == "LlamaForCausalLM"
    (q,) = [g for g in report.groups if g.module == "self_attn.q_proj"]
    assert (q.tensors, q.shape, q.dtype) == (2, (24, 24), "F32")
    assert sum(g.parameters for g in report.groups) == report.parameters


def test_shards_tied_embeddings_and_mixed_types(tmp_path: Path) -> None:
    tensors = {n: t for n, t in llama_tensors(0).items() if n != "lm_head.weight"}
    tensors["model.layers.1.mlp.up_proj.weight"] = torch.zeros(3, 2, dtype=torch.bfloat16)
    report = inspect_model(str(write_model(tmp_path, tensors, shards=3)))
    assert (report.files, report.tied_embeddings) == (3, True)
    (up,) = [g for g in report.groups if g.module == "mlp.up_proj"]
    assert (up.shape, up.dtype) == (None, None)


def test_an_adapter_shows_its_settings(folders: Folders) -> None:
    report = inspect_model(str(folders.adapter))
    assert report.kind == "adapter"
    assert report.adapter is not None
    assert (report.adapter["r"], report.adapter["lora_alpha"]) == (4, 8)


def test_a_sum_shows_its_one_adapter_or_is_refused(folders: Folders) -> None:
    one, more = f"{folders.base}+{folders.adapter}", f"{folders.adapter}+{folders.adapter}"
    assert inspect_model(one).adapter == inspect_model(str(folders.adapter)).adapter
    for reference in (more, f"{folders.base}+{more}"):
        with pytest.raises(InputError, match="one at a time"):
            inspect_model(reference)


def test_a_merge_shows_how_it_was_made(folders: Folders, tmp_path: Path) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_text(
        f"merge_method: linear\nmodels: [{{model: {folders.base}}}, {{model: {folders.full}}}]\n"
        "parameters: {weight: 1}\n"
    )
    run_merge(recipe, tmp_path / "out")
    provenance = inspect_model(str(tmp_path / "out")).provenance
    assert provenance is not None
    assert provenance["recipe"] == recipe.read_text()
    assert "matrices" not in provenance


def test_it_needs_no_torch(folders: Folders) -> None:
    """The reason why it answers in well under a second."""
    code = (
        "import sys\nfrom weightlens_cli.main import app\ntry:\n"
        f"    app(['inspect', {str(folders.base)!r}])\nexcept SystemExit as end:\n"
        "    assert not end.code, end.code\nprint('torch' in sys.modules, 'numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().splitlines()[-1] == "False False"


def test_damaged_folders_are_refused(folders: Folders, tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound):
        inspect_model(str(tmp_path / "nowhere"))
    (folders.base / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"config\.json: not valid JSON"):
        inspect_model(str(folders.base))
    (folders.adapter / "adapter_model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="is missing"):
        inspect_model(str(folders.adapter))


def test_spectra_find_what_is_broken() -> None:
    # diag(3, 4): norm 5, σ₁ 4, stable rank 25/16
    tensors = {
        "layers.0.a.weight": torch.diag(torch.tensor([3.0, 4.0, 0.0])),
        "layers.0.b.weight": torch.tensor([[1.0, float("nan")], [float("inf"), 2.0]]),
        "layers.0.norm.weight": torch.ones(4),
        "layers.0.ids": torch.arange(3),
    }
    a, b, norm = measure_spectra(tensors)
    assert (a.norm, a.spectral_norm) == (pytest.approx(5), pytest.approx(4))
    assert a.stable_rank == pytest.approx(25 / 16)
    assert (a.dead_rows, a.nan, a.inf) == (1, 0, 0)
    assert (b.nan, b.inf, b.norm, b.stable_rank) == (1, 1, None, None)
    assert (norm.dead_rows, norm.norm, norm.spectral_norm) == (None, pytest.approx(2), None)


def test_spectra_of_scaled_weights_are_those_of_the_product() -> None:
    """Not of the product in bfloat16, which has three digits."""
    weight = torch.full((2, 2), 1.125).to(torch.float8_e4m3fn)
    tensors = {"a.weight": weight, "a.weight_scale": torch.tensor(1.003)}
    (found,) = measure_spectra(tensors)
    assert found.norm == pytest.approx(2 * 1.125 * 1.003, rel=1e-6)


def test_spectra_are_in_the_json(folders: Folders) -> None:
    done = CliRunner().invoke(app, ["inspect", str(folders.base), "--spectra", "--json", "-"])
    data = json.loads(done.stdout)
    assert len(data["spectra"]) == data["tensors"]


@pytest.mark.parametrize(
    ("names", "said", "tied"),
    [
        (["gpt_neox.embed_in.weight", "embed_out.weight"], None, False),
        (["gpt_neox.embed_in.weight", "embed_out.weight"], False, False),
        (["model.embed_tokens.weight"], None, True),
        (["model.embed_tokens.weight"], False, False),
        (["model.embed_tokens.weight", "lm_head.weight"], True, True),
    ],
)
def test_embeddings_are_tied_as_the_config_says(
    names: list[str], said: bool | None, tied: bool
) -> None:
    config = {} if said is None else {"tie_word_embeddings": said}
    assert are_tied(config, names) == are_tied({"text_config": config}, names) == tied


def test_the_report_is_json_of_its_schema(folders: Folders) -> None:
    data = json.loads(inspect_model(str(folders.base)).to_json())
    assert data["schema"] == "weightlens.inspect/1"
