"""Parts of fused projections, in a report: the numbers of separate matrices, counted once."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoints import write_adapter
from safetensors.torch import save_file
from torch import Tensor

from weightlens.checkpoint.read import FolderWeights, MemoryWeights
from weightlens.delta import Dense, Factored
from weightlens.spectral.rank import SubspaceSize
from weightlens.survey.cuts import Cut, cuts_of
from weightlens.survey.overlap import measure_overlap
from weightlens.survey.result import MatrixRecord, ModelRecord

# Phi-3 with 4 query heads and 2 key heads of 6: 24 rows of queries, 12 of keys, 12 of values
PHI3 = {"model_type": "phi3", "hidden_size": 24, "num_attention_heads": 4,
        "num_key_value_heads": 2, "intermediate_size": 20}  # fmt: skip
QKV = "model.layers.0.self_attn.qkv_proj.weight"
OUT = "model.layers.0.self_attn.o_proj.weight"
GATE_UP = "model.layers.0.mlp.gate_up_proj.weight"
BLOCKS = {
    QKV: {"query": slice(0, 24), "key": slice(24, 36), "value": slice(36, 48)},
    GATE_UP: {"gate": slice(0, 20), "up": slice(20, 40)},
}


def drawn(shapes: Mapping[str, tuple[int, int]], seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        name: torch.randn(shape, generator=generator) * torch.logspace(0, -1, shape[1])
        for name, shape in shapes.items()
    }


def phi3(seed: int = 0) -> dict[str, Tensor]:
    return drawn({QKV: (48, 24), OUT: (24, 24), GATE_UP: (40, 24)}, seed)


def stepped(base: Mapping[str, Tensor], seed: int = 1) -> dict[str, Tensor]:
    other = drawn({name: (t.shape[0], t.shape[1]) for name, t in base.items()}, seed)
    return {name: tensor + 0.1 * other[name].flip(0) for name, tensor in base.items()}


def saved(folder: Path, tensors: Mapping[str, Tensor], config: Mapping[str, object]) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    save_file(dict(tensors), folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def apart(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The blocks of the fused tensors as tensors of their own."""
    return {
        f"layers.0.{part}.weight": tensors[name][rows]
        for name, parts in BLOCKS.items()
        for part, rows in parts.items()
    }


def numbers(record: MatrixRecord) -> dict[str, Any]:
    """What was measured, without what it is called."""
    return record.model_dump(exclude={"name", "module", "layer", "part"})


def without_rounding(record: MatrixRecord) -> dict[str, Any]:
    """The same without the share of rounding, which is known of whole tensors alone."""
    found = numbers(record)
    del found["delta"]["rounding_share"]
    return found


def parts_of(model: ModelRecord) -> dict[str, MatrixRecord]:
    return {record.part: record for record in model.matrices if record.part is not None}


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    base = phi3()
    return saved(tmp_path / "base", base, PHI3), saved(tmp_path / "tuned", stepped(base), PHI3)


def test_a_fused_tensor_is_listed_whole_and_then_by_part(folders: tuple[Path, Path]) -> None:
    (model,) = measure_overlap(folders[0], [folders[1]]).models
    listed = [(record.name, record.part, record.shape) for record in model.matrices]
    assert sorted(listed, key=str) == sorted([
        (QKV, None, (48, 24)), (QKV, "query", (24, 24)), (QKV, "key", (12, 24)),
        (QKV, "value", (12, 24)), (OUT, None, (24, 24)), (GATE_UP, None, (40, 24)),
        (GATE_UP, "gate", (20, 24)), (GATE_UP, "up", (20, 24)),
    ], key=str)  # fmt: skip
    places = {name: [record.part for record in model.matrices if record.name == name]
              for name in (QKV, GATE_UP)}  # fmt: skip
    assert places == {QKV: [None, "query", "key", "value"], GATE_UP: [None, "gate", "up"]}
    assert {(r.layer, r.module) for r in model.matrices if r.name == QKV} == {
        (0, "self_attn.qkv_proj")
    }


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"size": SubspaceSize("fraction", 0.25), "curves": True},
        {"size": SubspaceSize("rank", 3)},
        {"more": True},
    ],
)
def test_each_part_reads_like_a_matrix_of_its_own(
    folders: tuple[Path, Path], settings: dict[str, Any]
) -> None:
    (fused,) = measure_overlap(folders[0], [folders[1]], **settings).models
    base = phi3()
    (alone,) = measure_overlap(apart(base), [apart(stepped(base))], **settings).models
    found = parts_of(fused)
    assert len(found) == len(alone.matrices) == 5
    for record in alone.matrices:
        ours, theirs = without_rounding(found[record.module]), without_rounding(record)
        # what needs the share of rounding is not known of a part either
        assert ours["more"].pop("rank_above_rounding", None) is None
        theirs["more"].pop("rank_above_rounding", None)
        assert ours == theirs


def test_the_whole_reads_as_without_parts(folders: tuple[Path, Path]) -> None:
    """A state dict has no config, so it shows no parts."""
    base = phi3()
    (fused,) = measure_overlap(folders[0], [folders[1]]).models
    (plain,) = measure_overlap(base, [stepped(base)]).models
    assert {record.part for record in plain.matrices} == {None}
    whole = {record.name: record for record in fused.matrices if record.part is None}
    assert whole == {record.name: record for record in plain.matrices}


def test_squared_norms_of_parts_add_up_to_the_whole(folders: tuple[Path, Path]) -> None:
    (model,) = measure_overlap(folders[0], [folders[1]]).models
    for name in BLOCKS:
        whole, *parts = (r for r in model.matrices if r.name == name)
        for of in ("delta", "base"):
            total = sum(getattr(part, of).norm ** 2 for part in parts)
            assert getattr(whole, of).norm ** 2 == pytest.approx(total, rel=1e-6)


def test_means_count_a_fused_tensor_once(folders: tuple[Path, Path]) -> None:
    base = phi3()
    (fused,) = measure_overlap(folders[0], [folders[1]]).models
    (plain,) = measure_overlap(base, [stepped(base)]).models
    assert fused.summary.all.matrices == 3
    assert set(fused.summary.modules) == set(plain.summary.modules)
    for name, mean in plain.summary.modules.items():
        assert fused.summary.modules[name] == mean
    ours, theirs = fused.summary.all.model_dump(), plain.summary.all.model_dump()
    assert ours == pytest.approx(theirs)  # the order of the tensors differs
    wholes = [record for record in fused.matrices if record.part is None]
    energy = sum(record.delta.norm**2 for record in wholes)
    assert fused.summary.all.delta_norm == pytest.approx(math.sqrt(energy))


def test_parts_lie_in_the_subspaces_of_a_controls_own_parts(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    control, base = phi3(9), phi3()
    folder = saved(tmp_path / "control", control, PHI3)
    (fused,) = measure_overlap(folders[0], [folders[1]], control=folder).models
    (alone,) = measure_overlap(apart(base), [apart(stepped(base))], control=apart(control)).models
    for record in alone.matrices:
        assert without_rounding(parts_of(fused)[record.module]) == without_rounding(record)


def test_the_share_of_rounding_is_that_of_the_whole_alone(folders: tuple[Path, Path]) -> None:
    (model,) = measure_overlap(folders[0], [folders[1]]).models
    for record in model.matrices:
        assert (record.delta.rounding_share is None) == (record.part is not None)
    assert model.summary.all.rounding_share is not None


def lora_on(folder: Path, base: Mapping[str, Tensor], rank: int) -> tuple[Path, dict[str, Tensor]]:
    """A LoRA adapter on every tensor, and the same model with the products added."""
    from weightlens.checkpoint.adapter import Adapter

    write_adapter(folder, base, rank=rank)
    adapter = Adapter(folder)
    dense = {}
    for name, tensor in base.items():
        factored = adapter.factored(name)
        product = factored.scale * factored.b.double() @ factored.a.double()
        dense[name] = (tensor.double() + product).float()
    return folder, dense


@pytest.mark.parametrize("rank", [3, 16])
def test_lora_on_a_fused_tensor_stays_factored_and_reads_like_its_product(
    folders: tuple[Path, Path], tmp_path: Path, rank: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where r = 16 exceeds the 12 rows of a part. The product is never formed."""
    adapter, dense = lora_on(tmp_path / "lora", phi3(), rank)

    def formed(delta: Factored) -> Tensor:
        raise AssertionError("B A was multiplied out")

    with monkeypatch.context() as patched:
        patched.setattr(Factored, "dense", formed)
        (factored,) = measure_overlap(folders[0], [adapter]).models
    (product,) = measure_overlap(folders[0], [saved(tmp_path / "dense", dense, PHI3)]).models
    assert factored.kind == "adapter"
    for ours, theirs in zip(factored.matrices, product.matrices, strict=True):
        assert (ours.name, ours.part, ours.shape) == (theirs.name, theirs.part, theirs.shape)
        assert ours.subspace == theirs.subspace
        for side in ("column", "row", "both"):
            assert getattr(ours, side).overlap == pytest.approx(
                getattr(theirs, side).overlap, abs=1e-5
            )
            # a product stored in float32 has a full spectrum of rounding beside its own
            assert getattr(ours, side).std == pytest.approx(getattr(theirs, side).std, rel=1e-3)
        assert ours.weighted.column == pytest.approx(theirs.weighted.column, abs=1e-5)
        assert ours.delta.norm == pytest.approx(theirs.delta.norm, rel=1e-5)
    whole, *parts = (r for r in factored.matrices if r.name == QKV)
    assert whole.delta.norm**2 == pytest.approx(sum(p.delta.norm**2 for p in parts), rel=1e-6)


def test_lora_that_leaves_a_part_alone_gives_it_nulls(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    """B's rows of the keys are zeros, as in GPT-2's LoRA on queries and values."""
    from safetensors.torch import load_file

    adapter, _ = lora_on(tmp_path / "lora", phi3(), 3)
    file = adapter / "adapter_model.safetensors"
    factors = load_file(file)
    factors[f"base_model.model.{QKV.removesuffix('.weight')}.lora_B.weight"][24:36] = 0
    save_file(factors, file, metadata={"format": "pt"})
    (model,) = measure_overlap(folders[0], [adapter]).models
    parts = parts_of(model)
    assert parts["key"].delta.norm == 0
    assert parts["key"].column.overlap is None
    assert parts["query"].column.overlap is not None


def test_the_parts_of_gpt2s_conv1d_are_its_columns(tmp_path: Path) -> None:
    """c_attn is stored as inputs x outputs, 12 x 36: query, key and value side by side."""
    config = {"model_type": "gpt2", "n_embd": 12, "n_head": 3, "n_layer": 1}
    name = "transformer.h.0.attn.c_attn.weight"
    base = drawn({name: (12, 36)}, 3)
    tuned = stepped(base, 4)
    folders = [saved(tmp_path / n, t, config) for n, t in (("base", base), ("tuned", tuned))]
    (model,) = measure_overlap(folders[0], [folders[1]]).models
    assert [(r.part, r.shape) for r in model.matrices] == [
        (None, (36, 12)), ("query", (12, 12)), ("key", (12, 12)), ("value", (12, 12)),
    ]  # fmt: skip
    separate = [
        {f"layers.0.{part}.weight": tensors[name][:, 12 * i : 12 * (i + 1)].T.contiguous()
         for i, part in enumerate(("query", "key", "value"))}
        for tensors in (base, tuned)
    ]  # fmt: skip
    (alone,) = measure_overlap(separate[0], [separate[1]]).models
    for record in alone.matrices:
        ours = parts_of(model)[record.module]
        assert ours.subspace.rank == record.subspace.rank
        for side in ("column", "row", "both"):
            assert getattr(ours, side).overlap == pytest.approx(
                getattr(record, side).overlap, abs=1e-9
            )
        assert ours.delta.norm == pytest.approx(record.delta.norm)


@pytest.mark.parametrize(
    "config", [{}, {"model_type": "unheard-of"}, PHI3 | {"num_key_value_heads": 4}]
)
def test_without_a_config_that_accounts_for_the_rows_there_are_no_parts(
    tmp_path: Path, config: dict[str, Any]
) -> None:
    base = {QKV: phi3()[QKV]}
    folder = saved(tmp_path / "base", base, config)
    assert cuts_of(QKV, (48, 24), FolderWeights(folder)) == [Cut(QKV)]
    (model,) = measure_overlap(folder, [stepped(base)]).models
    assert [record.part for record in model.matrices] == [None]


def test_cuts_take_the_same_rows_of_weights_and_of_deltas(generator: torch.Generator) -> None:
    rows = torch.tensor([1, 4, 5])
    cut = Cut("w", part="key", rows=rows)
    weight = torch.randn(6, 5, generator=generator)
    b, a = torch.randn(6, 2, generator=generator), torch.randn(2, 5, generator=generator)
    assert torch.equal(cut.of(weight), weight[[1, 4, 5]])
    dense = cut.of_delta(Dense(weight))
    assert isinstance(dense, Dense) and torch.equal(dense.matrix, weight[[1, 4, 5]])
    factored = cut.of_delta(Factored(b, a, 0.5))
    assert isinstance(factored, Factored)
    assert torch.allclose(factored.dense(), 0.5 * (b @ a)[[1, 4, 5]], atol=1e-6)
    assert cut.of_delta(None) is None
    assert cut.of_rounding((3.0,)) is None
    assert Cut("w").of_rounding((3.0,)) == 3.0
    assert Cut("w").of_rounding(None) is None


def test_every_expert_of_a_stack_is_a_cut(generator: torch.Generator) -> None:
    stack = torch.randn(3, 4, 5, generator=generator)
    weights = MemoryWeights({"experts.up": stack}, "a state dict")
    cuts = cuts_of("experts.up", (3, 4, 5), weights)
    assert [cut.expert for cut in cuts] == [0, 1, 2]
    for i, cut in enumerate(cuts):
        assert torch.equal(cut.of(stack), stack[i])
        delta = cut.of_delta(2 * stack)
        assert isinstance(delta, Dense) and torch.equal(delta.matrix, 2 * stack[i])
        assert cut.of_rounding((1.0, 2.0, 3.0)) == i + 1
