"""Experts in aggregate, against NumPy on the block-diagonal matrix that they make up."""

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import torch
from checkpoints import write_adapter, write_model
from numpy.typing import NDArray
from torch import Tensor

from weightlens.spectral.rank import SubspaceSize
from weightlens.survey.overlap import measure_overlap
from weightlens.survey.result import MatrixRecord, ModelRecord, OverlapRecord, StackRecord
from weightlens.survey.stacks import stacks_of

PACKED = "model.layers.0.mlp.experts.gate_up_proj"
ATTENTION = "model.layers.0.self_attn.q_proj.weight"
M, N = 10, 14
Matrix = NDArray[np.float64]


def stack(experts: int, seed: int) -> Tensor:
    """Experts of falling size, each with a spectrum that falls at a rate of its own."""
    generator = torch.Generator().manual_seed(seed)
    return torch.stack([
        torch.randn(M, N, generator=generator) @ torch.diag(torch.logspace(0, -e - 1, N)) / (e + 1)
        for e in range(experts)
    ])  # fmt: skip


def pair(experts: int = 4) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Deltas of sizes 1, 2, 3, …, so that every weight w_e differs."""
    base, step = stack(experts, 0), stack(experts, 1)
    sizes = torch.arange(1.0, experts + 1)[:, None, None]
    return {PACKED: base}, {PACKED: base + 0.1 * sizes * step}


def apart(
    tensors: Mapping[str, Tensor], module: str = "block_sparse_moe", matrix: str = "w1"
) -> dict[str, Tensor]:
    """The same experts as a tensor each, as Mixtral has them."""
    return {
        f"model.layers.0.{module}.experts.{e}.{matrix}.weight": expert
        for e, expert in enumerate(tensors[PACKED])
    }


def projectors(base: Tensor, energy: float) -> list[tuple[Matrix, Matrix, int]]:
    """Of each expert: onto its column space, onto its row space, and k."""
    found = []
    for expert in base.double().numpy():
        u, sigma, vt = np.linalg.svd(expert, full_matrices=False)
        share = np.cumsum(sigma**2) / np.sum(sigma**2)
        k = int(np.argmax(share >= energy)) + 1
        found.append((u[:, :k] @ u[:, :k].T, vt[:k].T @ vt[:k], k))
    return found


def the_stack(model: ModelRecord) -> StackRecord:
    (record,) = model.stacks
    return record


def test_a_stack_reads_like_its_block_diagonal_matrix() -> None:
    """P = diag(P_e), Q = diag(Q_e), Δ = diag(Δ_e): ‖PΔ‖² / ‖Δ‖² and so on."""
    base, tuned = pair()
    (model,) = measure_overlap(base, [tuned]).models
    spaces = projectors(base[PACKED], 0.5)
    p, q = (scipy.linalg.block_diag(*side) for side in list(zip(*spaces, strict=True))[:2])
    deltas = (tuned[PACKED] - base[PACKED]).double().numpy()
    delta = scipy.linalg.block_diag(*deltas)
    total = np.sum(delta**2)
    found = the_stack(model)
    assert (found.layer, found.module, found.experts) == (0, "mlp.experts.gate_up_proj", 4)
    assert found.delta_norm == pytest.approx(math.sqrt(total))
    assert found.column.overlap == pytest.approx(np.sum((p @ delta) ** 2) / total, abs=1e-6)
    assert found.row.overlap == pytest.approx(np.sum((delta @ q) ** 2) / total, abs=1e-6)
    assert found.both.overlap == pytest.approx(np.sum((p @ delta @ q) ** 2) / total, abs=1e-6)


def test_chance_and_spread_weigh_each_expert_with_its_energy() -> None:
    """By the formulas of docs and design: Σ w k/m; √(Σ w² s²), s² = v (S − (1−S)/(d−1))."""
    base, tuned = pair()
    (model,) = measure_overlap(base, [tuned]).models
    deltas = (tuned[PACKED] - base[PACKED]).double().numpy()
    weights = np.array([np.sum(d**2) for d in deltas])
    weights /= weights.sum()
    for side, d in (("column", M), ("row", N)):
        chance, variance = 0.0, 0.0
        for w, delta, (*_, k) in zip(weights, deltas, projectors(base[PACKED], 0.5), strict=True):
            shares = np.linalg.svd(delta, compute_uv=False) ** 2
            s = np.sum((shares / shares.sum()) ** 2)
            v = 2 * k * (d - k) / (d**2 * (d + 2))
            chance += w * k / d
            variance += w**2 * v * (s - (1 - s) / (d - 1))
        found: OverlapRecord = getattr(the_stack(model), side)
        assert found.chance == pytest.approx(chance)
        assert found.std == pytest.approx(math.sqrt(variance), rel=1e-5)
        assert found.overlap is not None
        assert found.z == pytest.approx((found.overlap - found.chance) / math.sqrt(variance), 1e-4)


def test_a_stack_of_one_reads_like_its_expert() -> None:
    base, tuned = pair(1)
    (model,) = measure_overlap(base, [tuned]).models
    (expert,) = model.matrices
    found = the_stack(model)
    for side in ("column", "row", "both"):
        ours, theirs = getattr(found, side), getattr(expert, side)
        assert ours.model_dump() == pytest.approx(theirs.model_dump())
    assert found.delta_norm == pytest.approx(expert.delta.norm)


def test_random_deltas_read_chance_within_the_spread() -> None:
    """A law of the spread: z-scores of 40 stacks of Haar-oriented deltas have a deviation of 1."""
    generator = torch.Generator().manual_seed(5)
    base = {f"model.layers.{i}.mlp.experts.up": torch.randn(3, 12, 16, generator=generator)
            for i in range(40)}  # fmt: skip
    tuned = {n: t + 0.1 * torch.randn(t.shape, generator=generator) for n, t in base.items()}
    (model,) = measure_overlap(base, [tuned]).models
    assert len(model.stacks) == 40
    for side in ("column", "row", "both"):
        scores = torch.tensor([getattr(record, side).z for record in model.stacks])
        assert float(scores.abs().max()) < 4.5
        assert float(scores.mean()) == pytest.approx(0, abs=4 / math.sqrt(40))
        assert 0.6 < float(scores.std()) < 1.5


def test_packed_and_unpacked_experts_read_the_same() -> None:
    base, tuned = pair()
    (packed,) = measure_overlap(base, [tuned]).models
    (unpacked,) = measure_overlap(apart(base), [apart(tuned)]).models
    ours, theirs = the_stack(packed), the_stack(unpacked)
    assert theirs.module == "block_sparse_moe.experts.w1"
    assert ours.model_dump(exclude={"module"}) == theirs.model_dump(exclude={"module"})
    for one, other in zip(packed.matrices, unpacked.matrices, strict=True):
        assert one.expert == other.expert
        left, right = (r.model_dump(exclude={"name", "module"}) for r in (one, other))
        assert left == right


def test_experts_are_grouped_by_layer_and_module() -> None:
    names = [
        f"model.layers.{layer}.mlp.experts.{expert}.{matrix}.weight"
        for layer in (0, 1)
        for expert in range(3)
        for matrix in ("up_proj", "down_proj")
    ]
    generator = torch.Generator().manual_seed(2)
    base = {name: torch.randn(6, 6, generator=generator) for name in [*names, ATTENTION]}
    base["model.layers.0.mlp.shared_experts.up_proj.weight"] = torch.randn(6, 6)
    tuned = {name: tensor + 0.1 for name, tensor in base.items()}
    (model,) = measure_overlap(base, [tuned]).models
    assert [(s.layer, s.module, s.experts) for s in model.stacks] == [
        (0, "mlp.experts.up_proj", 3), (0, "mlp.experts.down_proj", 3),
        (1, "mlp.experts.up_proj", 3), (1, "mlp.experts.down_proj", 3),
    ]  # fmt: skip
    # a stack is in addition: its experts are listed and counted one by one
    assert len(model.matrices) == model.summary.all.matrices == 14


def test_an_unchanged_expert_weighs_nothing() -> None:
    base, tuned = pair(3)
    tuned[PACKED][1] = base[PACKED][1]
    (model,) = measure_overlap(base, [tuned]).models
    found, (first, unchanged, last) = the_stack(model), model.matrices
    assert unchanged.column.overlap is None
    assert found.experts == 3
    w = first.delta.norm**2 / (first.delta.norm**2 + last.delta.norm**2)
    assert first.column.overlap is not None and last.column.overlap is not None
    expected = w * first.column.overlap + (1 - w) * last.column.overlap
    assert found.column.overlap == pytest.approx(expected)
    assert found.column.chance == pytest.approx(w * first.column.chance
                                                + (1 - w) * last.column.chance)  # fmt: skip


def test_a_stack_that_nothing_changed_has_nulls_and_the_mean_chance() -> None:
    base, _ = pair()
    (model,) = measure_overlap(base, [{PACKED: base[PACKED].clone()}]).models
    found = the_stack(model)
    assert found.delta_norm == 0
    for side, d in (("column", M), ("row", N)):
        record: OverlapRecord = getattr(found, side)
        assert (record.overlap, record.std, record.z) == (None, None, None)
        ranks = [expert.subspace.rank for expert in model.matrices]
        assert record.chance == pytest.approx(sum(ranks) / len(ranks) / d)


def test_no_experts_make_no_stacks() -> None:
    base = {ATTENTION: torch.eye(4)}
    (model,) = measure_overlap(base, [{ATTENTION: 2 * torch.eye(4)}]).models
    assert model.stacks == []
    assert stacks_of([]) == []


def test_each_expert_has_its_own_share_of_rounding(tmp_path: Path) -> None:
    """Stored in bfloat16: the same shares as each expert by itself."""
    base, tuned = pair()
    base, tuned = ({PACKED: t[PACKED].bfloat16()} for t in (base, tuned))
    folders = [write_model(tmp_path / n, t) for n, t in (("base", base), ("tuned", tuned))]
    alone = [write_model(tmp_path / n, {k: v.contiguous() for k, v in apart(t).items()})
             for n, t in (("base-apart", base), ("tuned-apart", tuned))]  # fmt: skip
    (packed,) = measure_overlap(folders[0], [folders[1]]).models
    (unpacked,) = measure_overlap(alone[0], [alone[1]]).models

    def shares(records: list[MatrixRecord]) -> list[float | None]:
        return [record.delta.rounding_share for record in records]

    assert shares(packed.matrices) == shares(unpacked.matrices)
    assert len(set(shares(packed.matrices))) == 4
    assert None not in shares(packed.matrices)


def test_an_adapter_elsewhere_leaves_experts_unchanged(tmp_path: Path) -> None:
    base, _ = pair()
    tensors = base | {ATTENTION: torch.randn(8, 8, generator=torch.Generator().manual_seed(3))}
    folder = write_model(tmp_path / "base", tensors)
    adapter = write_adapter(tmp_path / "lora", {ATTENTION: tensors[ATTENTION]}, rank=2)
    (model,) = measure_overlap(folder, [adapter]).models
    found = the_stack(model)
    assert (found.delta_norm, found.column.overlap) == (0, None)
    assert [r.column.overlap is None for r in model.matrices if r.expert is None] == [False]


def test_a_rank_is_each_experts_own() -> None:
    base, tuned = pair()
    (model,) = measure_overlap(base, [tuned], size=SubspaceSize("rank", 3)).models
    assert the_stack(model).column.chance == pytest.approx(3 / M)
    assert the_stack(model).row.chance == pytest.approx(3 / N)
