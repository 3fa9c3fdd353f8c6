"""Fine-tunes against each other over whole checkpoints, against NumPy."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoints import Folders, llama_tensors, matrices, moved, write_model
from scipy.linalg import subspace_angles
from typer.testing import CliRunner

from weightlens.errors import InputError
from weightlens.report.compare_section import compare_section
from weightlens.report.compare_tables import compare_tables
from weightlens.spectral.rank import SubspaceSize
from weightlens.survey.compare import compare_models
from weightlens.survey.compare_result import CompareReport
from weightlens.survey.overlap import measure_overlap
from weightlens.survey.unfinished import Interrupted, Unfinished
from weightlens.survey.work import Step
from weightlens_cli.main import app


def test_a_pair_reads_like_numpy_and_scipy_read_it() -> None:
    base = llama_tensors(0)
    one, two = moved(base, 1), moved(base, 2)
    report = compare_models(base, [one, two], size=SubspaceSize("rank", 3))
    assert [m.name for m in report.matrices] == matrices(base)
    for matrix in report.matrices:
        a, b = ((t[matrix.name].double() - base[matrix.name].double()).numpy() for t in (one, two))
        (pair,) = matrix.pairs
        cosine = np.sum(a * b) / (np.linalg.norm(a) * np.linalg.norm(b))
        assert pair.cosine == pytest.approx(cosine, abs=1e-6)
        assert pair.sign_conflict == pytest.approx(np.mean(a * b < 0), abs=1e-6)
        (ua, _, va), (ub, _, vb) = (np.linalg.svd(x) for x in (a, b))
        columns = np.sort(subspace_angles(ua[:, :3], ub[:, :3]))
        rows = np.sort(subspace_angles(va[:3].T, vb[:3].T))
        assert pair.columns.smallest_angle == pytest.approx(np.degrees(columns[0]), abs=1e-2)
        assert pair.columns.geodesic == pytest.approx(np.linalg.norm(columns), abs=1e-3)
        assert pair.rows.chordal == pytest.approx(np.linalg.norm(np.sin(rows)), abs=1e-3)
        inside = np.linalg.norm(ub[:, :3].T @ a) / np.linalg.norm(a)
        assert pair.alignment[0] == pytest.approx(inside, abs=1e-4)


def test_a_model_and_its_copy_are_one(folders: Folders, tmp_path: Path) -> None:
    copy = write_model(tmp_path / "copy", moved(llama_tensors(0), 1))
    report = compare_models(folders.base, [folders.full, copy])
    (pair,) = report.pairs
    assert pair.cosine == pytest.approx(1)
    assert pair.sign_conflict == 0
    assert all(p.columns.largest_angle < 0.1 for m in report.matrices for p in m.pairs)


def test_opposite_deltas_conflict_everywhere() -> None:
    base = llama_tensors(0)
    there = moved(base, 1)
    back = {n: 2 * base[n] - t for n, t in there.items()}
    (pair,) = compare_models(base, [there, back]).pairs
    assert pair.cosine == pytest.approx(-1)
    assert pair.sign_conflict == pytest.approx(1, abs=1e-3)


def test_unrelated_deltas_read_what_chance_reads() -> None:
    base = {f"layers.{i}.up.weight": torch.randn(60, 80) for i in range(8)}
    generator = torch.Generator().manual_seed(3)
    one, two = (
        {n: t + 0.1 * torch.randn(t.shape, generator=generator) for n, t in base.items()}
        for _ in range(2)
    )
    (pair,) = compare_models(base, [one, two], size=SubspaceSize("rank", 10)).pairs
    assert pair.cosine == pytest.approx(0, abs=4 / (8 * 60 * 80) ** 0.5)
    assert pair.sign_conflict == pytest.approx(0.5, abs=0.02)
    assert pair.alignment_over_chance == pytest.approx((1, 1), abs=0.05)


def test_three_models_make_three_pairs_and_an_unchanged_one_makes_none(folders: Folders) -> None:
    report = compare_models(folders.base, [folders.full, folders.adapter, folders.base])
    assert [(p.a, p.b) for p in report.pairs] == [
        (str(folders.full), str(folders.adapter)), (str(folders.full), str(folders.base)),
        (str(folders.adapter), str(folders.base)),
    ]  # fmt: skip
    assert [p.cosine is None for p in report.pairs] == [False, True, True]
    assert {len(m.pairs) for m in report.matrices} == {1}


def test_one_fine_tune_is_not_enough(folders: Folders) -> None:
    with pytest.raises(InputError, match="at least two"):
        compare_models(folders.base, [folders.full])


def test_the_command_prints_and_writes_json(folders: Folders, tmp_path: Path) -> None:
    target = tmp_path / "c.json"
    arguments = ["compare", str(folders.base), str(folders.full), str(folders.adapter)]
    done = CliRunner().invoke(app, [*arguments, "--json", str(target)])
    assert done.exit_code == 0, done.output
    assert "sign conflict" in done.output
    assert json.loads(target.read_text())["schema"] == "weightlens.compare/1"


def with_experts(seed: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        "model.layers.0.mlp.experts.gate_up_proj": torch.randn(3, 12, 8, generator=generator),
        "model.layers.0.self_attn.q_proj.weight": torch.randn(8, 8, generator=generator),
    }


def test_experts_are_compared_one_by_one() -> None:
    base, one, two = with_experts(0), with_experts(1), with_experts(2)
    report = compare_models(base, [one, two], size=SubspaceSize("rank", 2))
    stack = "model.layers.0.mlp.experts.gate_up_proj"
    assert [(m.name, m.expert) for m in report.matrices] == [
        (stack, 0), (stack, 1), (stack, 2), ("model.layers.0.self_attn.q_proj.weight", None),
    ]  # fmt: skip
    apart, *others = (
        {f"layers.{e}.up.weight": tensors[stack][e] for e in range(3)}
        for tensors in (base, one, two)
    )
    singly = compare_models(apart, others, size=SubspaceSize("rank", 2))
    assert [m.pairs for m in report.matrices[:3]] == [m.pairs for m in singly.matrices]


def test_embeddings_of_other_vocabularies_do_not_matter() -> None:
    base = llama_tensors(0)
    one, two = moved(base, 1), moved(base, 2)
    two["model.embed_tokens.weight"] = torch.randn(
        base["model.embed_tokens.weight"].shape[0] + 5, base["model.embed_tokens.weight"].shape[1]
    )
    assert compare_models(base, [one, two]).matrices


def interrupting(step: Step) -> None:
    if step.done == 5:
        raise KeyboardInterrupt


def test_an_interrupted_comparison_goes_on(folders: Folders, tmp_path: Path) -> None:
    models, place = [folders.full, folders.adapter], Unfinished(tmp_path / "report.json")
    whole = compare_models(folders.base, models)
    with pytest.raises(Interrupted) as caught:
        compare_models(folders.base, models, unfinished=place, progress=interrupting)
    left = CompareReport.from_file(tmp_path / "report.json")
    assert left == caught.value.report
    assert left.partial and left.matrices == whole.matrices[:5]
    assert "5 tensors are in" in str(caught.value)
    steps: list[Step] = []
    report = compare_models(folders.base, models, unfinished=place, progress=steps.append)
    assert (steps[0].done, steps[-1].done) == (5, len(whole.matrices))
    assert report == whole


def test_an_overlap_is_not_taken_for_a_comparison(folders: Folders, tmp_path: Path) -> None:
    models, place = [folders.full, folders.adapter], Unfinished(tmp_path / "report.json")
    with pytest.raises(Interrupted):
        measure_overlap(folders.base, models, unfinished=place, progress=interrupting)
    steps: list[Step] = []
    compare_models(folders.base, models, unfinished=place, progress=steps.append)
    assert steps[0].done == 0
    # what the overlap has left is there still
    measure_overlap(folders.base, models, unfinished=place, progress=steps.append)
    assert steps[-1].done == 14 and steps[-10].done == 5


def test_a_comparison_that_was_cut_short_says_so(folders: Folders) -> None:
    with pytest.raises(Interrupted) as caught:
        compare_models(folders.base, [folders.full, folders.adapter], progress=interrupting)
    report = caught.value.report
    assert "This report was interrupted: 5 matrices compared." in [
        str(part) for part in compare_tables(report)
    ]
    assert "role='alert'>interrupted: 5 matrices compared<" in compare_section(report).html
