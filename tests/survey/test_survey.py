"""Overlap over whole checkpoints, against NumPy's SVD and on the edges."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from checkpoints import Folders, llama_tensors, matrices, moved, write_adapter, write_model
from reference import check_overlaps
from safetensors.torch import load_file

from weightlens.checkpoint.names import Place, place_of
from weightlens.checkpoint.selection import Selection
from weightlens.delta import Dense
from weightlens.errors import (
    AdapterMismatch,
    InputError,
    NonFiniteTensor,
    ShapeMismatch,
    TensorMissing,
)
from weightlens.experiment.tiny.shipped import SHIPPED
from weightlens.spectral.rank import SubspaceSize
from weightlens.survey.overlap import measure_overlap
from weightlens.survey.result import OverlapReport


@pytest.mark.parametrize("tuned", ["safe-full", "safe-lora"])
def test_the_embedded_models_read_like_numpy_reads_them(
    tuned: str, measured: Callable[[str], None]
) -> None:
    from weightlens.checkpoint.adapter import Adapter

    report = measure_overlap(SHIPPED / "base", [SHIPPED / tuned])
    base = load_file(SHIPPED / "base" / "model.safetensors")
    (model,) = report.models
    assert {m.name for m in model.matrices} == set(matrices(base))
    worst = 0.0
    for record in model.matrices:
        if tuned == "safe-full":
            other = load_file(SHIPPED / tuned / "model.safetensors")[record.name]
            delta = other.double() - base[record.name].double()
        else:
            factored = Adapter(SHIPPED / tuned).factored(record.name)
            delta = factored.b.double() @ factored.a.double() * factored.scale
        worst = max(worst, check_overlaps(record, base[record.name], delta))
    measured(f"{tuned}: {len(model.matrices)} matrices, overlaps within {worst:.0e} of NumPy's SVD")


def test_the_lora_path_reads_like_the_same_delta_given_densely() -> None:
    from weightlens.checkpoint.adapter import Adapter

    base = {n: t.float() for n, t in load_file(SHIPPED / "base" / "model.safetensors").items()}
    adapter = Adapter(SHIPPED / "safe-lora")
    dense = {n: t + adapter.factored(n).dense() if n in adapter.names else t
             for n, t in base.items()}  # fmt: skip
    factored, whole = measure_overlap(SHIPPED / "base", [SHIPPED / "safe-lora", dense]).models
    assert (factored.kind, whole.kind) == ("adapter", "full")
    for ours, theirs in zip(factored.matrices, whole.matrices, strict=True):
        for side in ("column", "row", "both"):
            assert getattr(ours, side).overlap == pytest.approx(
                getattr(theirs, side).overlap, abs=1e-4
            )
        assert ours.delta.stable_rank == pytest.approx(theirs.delta.stable_rank, rel=1e-3)


def test_an_unrelated_base_reads_chance() -> None:
    report = measure_overlap(
        SHIPPED / "base", [SHIPPED / "safe-full"], control=SHIPPED / "unrelated"
    )
    (model,) = report.models
    mean = model.summary.all
    assert mean.column_over_chance == pytest.approx(1, abs=0.1)
    assert mean.row_over_chance == pytest.approx(1, abs=0.1)
    scores = [m.column.z for m in model.matrices if m.column.z is not None]
    assert abs(sum(scores) / len(scores)) < 1


def test_a_random_delta_reads_chance_within_its_spread(generator: torch.Generator) -> None:
    base = {f"model.layers.{i}.mlp.up_proj.weight": torch.randn(40, 60, generator=generator)
            for i in range(30)}  # fmt: skip
    tuned = {n: t + 0.1 * torch.randn(t.shape, generator=generator) for n, t in base.items()}
    (model,) = measure_overlap(base, [tuned]).models
    for side in ("column", "row", "both"):
        scores = torch.tensor([getattr(m, side).z for m in model.matrices])
        assert float(scores.abs().max()) < 4.5
        assert float(scores.mean()) == pytest.approx(0, abs=4 / math.sqrt(30))
        assert 0.6 < float(scores.std()) < 1.5


def test_base_plus_adapter_reads_like_the_adapter(folders: Folders) -> None:
    plus = f"{folders.base}+{folders.adapter}"
    one, two = measure_overlap(folders.base, [folders.adapter, plus]).models
    assert [m.column for m in one.matrices] == [m.column for m in two.matrices]


def test_an_adapter_on_another_base_is_the_sum_of_both_deltas(
    folders: Folders, tmp_path: Path
) -> None:
    """(W' + sBA) − W, measured densely."""
    from weightlens.checkpoint.adapter import Adapter

    (model,) = measure_overlap(folders.base, [f"{folders.full}+{folders.adapter}"]).models
    base, full = (load_file(f / "model.safetensors") for f in (folders.base, folders.full))
    adapter = Adapter(folders.adapter)
    for record in model.matrices:
        delta = full[record.name] - base[record.name] + adapter.factored(record.name).dense()
        check_overlaps(record, base[record.name], delta)


def test_a_model_equal_to_its_base_gives_nulls_not_errors(folders: Folders) -> None:
    (model,) = measure_overlap(folders.base, [folders.base]).models
    assert len(model.matrices) == 14
    for record in model.matrices:
        assert record.column.overlap is None
        assert record.column.chance > 0
        assert record.delta.norm == 0
    assert model.summary.all.column is None


def test_a_matrix_of_zeros_and_single_rows_and_columns_survive() -> None:
    base = {"layers.0.zero.weight": torch.zeros(4, 5), "layers.0.row.weight": torch.randn(1, 6),
            "layers.0.column.weight": torch.randn(6, 1)}  # fmt: skip
    tuned = {n: t + 0.5 for n, t in base.items()}
    report = measure_overlap(base, [tuned])
    zero = report.models[0].matrices[0]
    assert zero.base.stable_rank is None
    assert zero.delta.relative_norm is None
    assert zero.subspace.angle_bound is None
    assert OverlapReport.model_validate_json(report.to_json()) == report


def test_one_matrix_of_zeros_does_not_blank_the_means(folders: Folders) -> None:
    base = llama_tensors(0)
    base["model.layers.0.mlp.up_proj.weight"].zero_()
    (model,) = measure_overlap(base, [moved(llama_tensors(0), 1)]).models
    assert model.summary.all.weighted_column_over_chance is not None


def test_convolutions_and_integers_are_skipped_with_a_reason(generator: torch.Generator) -> None:
    base = {"layers.0.mixer.conv1d.weight": torch.randn(8, 1, 4, generator=generator),
            "layers.0.ids": torch.ones(4, 4, dtype=torch.int64),
            "layers.0.up.weight": torch.randn(6, 7, generator=generator)}  # fmt: skip
    (model,) = measure_overlap(base, [base]).models
    assert {s.name: s.reason for s in model.skipped} == {
        "layers.0.mixer.conv1d.weight": "convolution", "layers.0.ids": "integers",
    }  # fmt: skip


def test_json_has_the_fields_of_the_schema(folders: Folders) -> None:
    import json

    data = json.loads(measure_overlap(folders.base, [folders.full]).to_json())
    assert data["schema"] == "weightlens.overlap/1"
    assert set(data) == {
        "schema", "weightlens", "partial", "base", "control", "subspace", "factorisations",
        "fingerprint", "models",
    }  # fmt: skip
    (model,) = data["models"]
    assert set(model) == {"model", "kind", "step", "summary", "skipped", "matrices", "stacks"}
    matrix = model["matrices"][0]
    assert set(matrix) == {
        "name", "expert", "part", "layer", "module", "shape", "base", "delta", "subspace",
        "column", "row", "both", "weighted", "more", "curve",
    }  # fmt: skip
    assert set(matrix["column"]) == {"overlap", "chance", "std", "z"}
    assert set(matrix["subspace"]) == {"rank", "energy", "gap", "angle_bound", "path"}
    assert set(matrix["delta"]) == {
        "norm", "spectral_norm", "relative_norm", "stable_rank", "effective_rank",
        "participation_ratio", "rounding_share",
    }  # fmt: skip
    assert {s["reason"] for s in model["skipped"]} == {"embedding", "not a matrix (1 dimensions)"}


def test_rounding_share_of_mere_rounding_is_one(folders: Folders, tmp_path: Path) -> None:
    """A "fine-tune" that is the base rounded to bfloat16 holds nothing but rounding."""
    rounded = {n: t.bfloat16() for n, t in llama_tensors(0).items()}
    folder = write_model(tmp_path / "rounded", rounded)
    (model,) = measure_overlap(folders.base, [folder]).models
    assert model.summary.all.rounding_share == pytest.approx(1, abs=0.05)


def test_embeddings_are_measured_when_asked_for(folders: Folders) -> None:
    (model,) = measure_overlap(
        folders.base, [folders.full], selection=Selection(include="embed|lm_head")
    ).models
    assert {m.module for m in model.matrices} == {"model.embed_tokens", "lm_head"}
    with pytest.raises(InputError, match="no matrix left"):
        measure_overlap(folders.base, [folders.full], selection=Selection(exclude="."))


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("model.layers.3.self_attn.q_proj.weight", Place(3, "self_attn.q_proj", None)),
        ("transformer.h.11.attn.c_attn.weight", Place(11, "attn.c_attn", None)),
        ("model.layers.0.mlp.experts.5.up_proj.weight", Place(0, "mlp.experts.up_proj", 5)),
        ("model.layers.0.mlp.experts.gate_up_proj", Place(0, "mlp.experts.gate_up_proj", None)),
        ("vision.encoder.layers.0.q.weight", Place(0, "vision.encoder.q", None)),
        ("lm_head.weight", Place(None, "lm_head", None)),
        ("bert.encoder.layer.2.output.dense.weight", Place(2, "bert.encoder.output.dense", None)),
    ],
)
def test_names_say_layer_module_and_expert(name: str, place: Place) -> None:
    assert place_of(name) == place


def test_what_does_not_fit_the_base_is_named(folders: Folders, tmp_path: Path) -> None:
    tensors = load_file(folders.full / "model.safetensors")
    name = "model.layers.1.mlp.up_proj.weight"
    missing = {n: t for n, t in tensors.items() if n != name}
    with pytest.raises(TensorMissing, match=rf"{name} is in .*base but not in .*one"):
        measure_overlap(folders.base, [write_model(tmp_path / "one", missing)])
    turned = tensors | {name: tensors[name].T.contiguous()}
    with pytest.raises(ShapeMismatch, match=rf"{name} is 24 x 40 in .* but 40 x 24 in"):
        measure_overlap(folders.base, [write_model(tmp_path / "two", turned)])
    other = {n.replace("q_proj", "w_proj"): t for n, t in llama_tensors(0).items()}
    with pytest.raises(AdapterMismatch, match="w_proj"):
        measure_overlap(folders.base, [write_adapter(tmp_path / "three", other)])
    tensors[name][0, 0] = math.nan
    with pytest.raises(NonFiniteTensor, match=name):
        measure_overlap(folders.base, [write_model(tmp_path / "four", tensors)])


def test_another_vocabulary_is_told_and_not_fatal(folders: Folders, tmp_path: Path) -> None:
    tensors = load_file(folders.full / "model.safetensors")
    grown = tensors | {n: torch.cat([tensors[n], torch.zeros(5, 24)])
                       for n in ("model.embed_tokens.weight", "lm_head.weight")}  # fmt: skip
    (model,) = measure_overlap(folders.base, [write_model(tmp_path / "grown", grown)]).models
    reasons = {s.name: s.reason for s in model.skipped}
    assert reasons["lm_head.weight"] == "embedding; 32 rows, 37 in the tuned model"
    assert len(model.matrices) == 14
    with pytest.raises(ShapeMismatch, match="37 x 24"):
        measure_overlap(
            folders.base, [tmp_path / "grown"], selection=Selection(include="embed|lm_head")
        )


def test_a_rank_above_a_matrix_names_it(folders: Folders) -> None:
    with pytest.raises(InputError, match=r"k_proj.*12 x 24: rank 20 exceeds"):
        measure_overlap(folders.base, [folders.full], size=SubspaceSize("rank", 20))


def test_dense_deltas_of_a_moved_model_are_its_differences(folders: Folders) -> None:
    from weightlens.checkpoint.model import open_model
    from weightlens.checkpoint.read import FolderWeights

    base = FolderWeights(folders.base)
    name = matrices(llama_tensors(0))[0]
    delta = open_model(folders.full).delta(name, base, base.read(name))
    assert isinstance(delta, Dense)
    expected = moved(llama_tensors(0), 1)[name] - llama_tensors(0)[name]
    assert torch.equal(delta.matrix, expected)
