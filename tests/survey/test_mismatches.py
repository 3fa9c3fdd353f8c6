"""What does not fit: vocabularies, controls, stacks stored the other way round."""

import json
from pathlib import Path

import pytest
import torch
from checkpoints import Folders, llama_tensors, moved, write_model
from typer.testing import CliRunner

from weightlens.checkpoint.selection import Selection
from weightlens.errors import InputError
from weightlens.report.overlap_tables import overlap_tables
from weightlens.survey.compare import compare_models
from weightlens.survey.limits import parse_limit
from weightlens.survey.overlap import measure_overlap
from weightlens_cli.main import app


@pytest.mark.parametrize(
    "selection", [Selection(include="q_proj"), Selection(exclude="embed|head")]
)
def test_a_larger_vocabulary_is_no_matter_where_embeddings_are_left_out(
    folders: Folders, tmp_path: Path, selection: Selection
) -> None:
    tensors = moved(llama_tensors(0), 1)
    grown = {
        name: torch.cat([t, t[:4]]) if "embed_tokens" in name or "lm_head" in name else t
        for name, t in tensors.items()
    }
    (model,) = measure_overlap(
        folders.base, [write_model(tmp_path / "grown", grown)], selection=selection
    ).models
    assert model.matrices


def test_a_control_is_named_beside_the_base(folders: Folders) -> None:
    report = measure_overlap(folders.base, [folders.full], control=folders.full)
    assert (report.base, report.control) == (str(folders.base), str(folders.full))
    assert report.against == str(folders.full)
    assert overlap_tables(report)


def test_a_tied_fine_tune_is_compared(folders: Folders, tmp_path: Path) -> None:
    tied = {n: t for n, t in moved(llama_tensors(0), 2).items() if n != "lm_head.weight"}
    report = compare_models(
        folders.base,
        [folders.full, write_model(tmp_path / "tied", tied)],
        selection=Selection(include="lm_head|q_proj"),
    )
    assert len(report.matrices) > 1


def test_stacks_of_inputs_by_outputs_are_turned_round(tmp_path: Path) -> None:
    """Llama 4 multiplies x by a stack of (experts, in, out): its transpose in another model's
    checkpoint holds the same matrices, and must read the same."""
    generator = torch.Generator().manual_seed(0)
    base, delta = (torch.randn(2, 6, 10, generator=generator) for _ in range(2))
    found = []
    for model_type, turned in (("llama4_text", False), ("qwen3_moe", True)):
        pair = []
        for kind, stack in (("base", base), ("tuned", base + 0.1 * delta)):
            name = "model.layers.0.feed_forward.experts.gate_up_proj"
            tensor = stack.mT.contiguous() if turned else stack
            folder = write_model(tmp_path / f"{model_type}-{kind}", {name: tensor})
            (folder / "config.json").write_text(json.dumps({"model_type": model_type}))
            pair.append(folder)
        found.append(measure_overlap(pair[0], [pair[1]]).models[0].matrices)
    for stored, linear in zip(*found, strict=True):
        assert stored.shape == linear.shape == (10, 6)
        assert stored.column.overlap == pytest.approx(linear.column.overlap)
        assert stored.row.overlap == pytest.approx(linear.row.overlap)


def test_a_limit_that_is_no_number_is_refused() -> None:
    for text in ("column=nan", "column=inf", "column=x"):
        with pytest.raises(InputError, match="no number"):
            parse_limit(text)


def test_two_reports_do_not_share_standard_output(folders: Folders) -> None:
    arguments = ["overlap", str(folders.base), str(folders.full), "--json", "-", "--csv", "-"]
    found = CliRunner().invoke(app, arguments)
    assert found.exit_code == 2
