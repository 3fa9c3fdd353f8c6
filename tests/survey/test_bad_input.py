"""Odd numbers, odd shapes and odd settings: right answers, nulls, or one clear line. Never NaN."""

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkpoints import Folders, llama_tensors, moved, write_adapter, write_model
from safetensors.torch import load_file, save_file
from torch import Tensor
from typer.testing import CliRunner

from weightlens.checkpoint.adapter import Adapter
from weightlens.checkpoint.selection import Selection
from weightlens.errors import InputError, NonFiniteTensor
from weightlens.spectral.rank import RankBy, SubspaceSize
from weightlens.survey.overlap import measure_overlap
from weightlens.survey.result import MatrixRecord, OverlapReport
from weightlens_cli.main import app

pytestmark = pytest.mark.filterwarnings("error")

NAME = "model.layers.0.mlp.up_proj.weight"
STACK = "model.layers.0.mlp.experts.gate_up_proj"
SIDES = ("column", "row", "both")
runner = CliRunner()


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEIGHTLENS_CACHE", str(tmp_path / "cache"))


def drawn(m: int, n: int, seed: int = 0) -> Tensor:
    return torch.randn(m, n, generator=torch.Generator().manual_seed(seed))


def measured(base: Tensor, tuned: Tensor, **settings: Any) -> MatrixRecord:
    """The record of one matrix; every number of the report is finite or null."""
    report = measure_overlap({NAME: base}, [{NAME: tuned}], **settings)
    assert_finite(report)
    return report.models[0].matrices[0]


def assert_finite(report: OverlapReport) -> None:
    broken = [at for at, number in numbers(report.model_dump()) if not math.isfinite(number)]
    assert broken == []
    assert OverlapReport.model_validate_json(report.to_json()) == report


def numbers(value: object, at: str = "") -> Iterator[tuple[str, float]]:
    if isinstance(value, float):
        yield at, value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from numbers(inner, f"{at}.{key}")
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield from numbers(inner, f"{at}[{index}]")


def check_by_svd(record: MatrixRecord, base: Tensor, tuned: Tensor, *, within: float) -> None:
    """Against the SVD in float64 of W and Δ, each brought to a largest entry of 1 before."""
    w, delta = base.double(), tuned.double() - base.double()
    size, change = float(w.abs().max()), float(delta.abs().max())
    w, delta = w / size, delta / change
    u, _, vt = torch.linalg.svd(w, full_matrices=False)
    k = record.subspace.rank
    u, v = u[:, :k], vt[:k].T
    total, whole = float(delta.square().sum()), float(w.square().sum())
    expected = {
        "column": (u.T @ delta).square().sum(), "row": (delta @ v).square().sum(),
        "both": (u.T @ delta @ v).square().sum(),
    }  # fmt: skip
    for side, energy in expected.items():
        overlap = getattr(record, side).overlap
        assert overlap == pytest.approx(float(energy) / total, abs=within), side
    column, row = ((x @ y).square().sum() / whole for x, y in ((w.T, delta), (delta, w.T)))
    assert record.weighted.column == pytest.approx(float(column) / total, abs=within)
    assert record.weighted.row == pytest.approx(float(row) / total, abs=within)
    assert record.delta.norm == pytest.approx(change * math.sqrt(total), rel=1e-6)
    assert record.base.norm == pytest.approx(size * math.sqrt(whole), rel=1e-6)
    assert record.delta.relative_norm == pytest.approx(
        change / size * math.sqrt(total / whole), rel=1e-5
    )


# Settings


@pytest.mark.parametrize("by", ["rank", "energy", "fraction"])
@pytest.mark.parametrize("value", [0, -1, 1.5, math.nan, math.inf, -math.inf])
def test_sizes_outside_their_range_are_refused(by: RankBy, value: float) -> None:
    with pytest.raises(ValueError, match=f"{by} must be"):
        SubspaceSize(by, value)


@pytest.mark.parametrize("by", ["energy", "fraction"])
def test_a_share_above_one_is_refused_and_one_is_everything(by: RankBy) -> None:
    with pytest.raises(ValueError, match="at most 1"):
        SubspaceSize(by, 2)
    base, step = drawn(6, 9), drawn(6, 9, 1)
    record = measured(base, base + step, size=SubspaceSize(by, 1.0))
    assert record.subspace.rank == 6
    assert record.column.overlap == pytest.approx(1)
    assert (record.column.std, record.column.z) == (0, None)


def test_the_smallest_shares_take_one_vector() -> None:
    base = drawn(6, 9)
    for size in (SubspaceSize("energy", 5e-324), SubspaceSize("fraction", 5e-324)):
        assert measured(base, 2 * base, size=size).subspace.rank == 1


@pytest.mark.parametrize(("m", "n"), [(6, 9), (9, 6), (520, 530)])
def test_a_rank_above_the_matrix_is_refused_by_name(m: int, n: int) -> None:
    base = {NAME: drawn(m, n)}
    d = min(m, n)
    with pytest.raises(InputError, match=rf"{NAME} is {m} x {n}: rank {d + 1} exceeds .* {d}"):
        measure_overlap(base, [base], size=SubspaceSize("rank", d + 1))


def test_a_rank_above_an_expert_is_refused_by_name() -> None:
    base = {STACK: torch.randn(3, 6, 9)}
    with pytest.raises(InputError, match=rf"{STACK} is 6 x 9: rank 7 exceeds"):
        measure_overlap(base, [base], size=SubspaceSize("rank", 7))


def test_the_full_rank_is_no_error() -> None:
    base = drawn(6, 9)
    record = measured(base, base + drawn(6, 9, 1), size=SubspaceSize("rank", 6))
    assert record.column.overlap == pytest.approx(1)
    assert record.subspace.energy == pytest.approx(1)


@pytest.mark.parametrize(
    "option",
    [
        ("--rank", "13"), ("--rank", "0"), ("--rank", "-3"), ("--energy", "0"),
        ("--energy", "-0.5"), ("--energy", "1.5"), ("--energy", "nan"), ("--energy", "inf"),
        ("--fraction", "0"), ("--fraction", "2"), ("--fraction", "nan"), ("--fraction", "-inf"),
    ],
)  # fmt: skip
def test_the_command_refuses_bad_sizes_in_one_line(
    folders: Folders, option: tuple[str, str]
) -> None:
    """k_proj has 12 rows."""
    line = one_line(["overlap", str(folders.base), str(folders.full), *option])
    assert (option[0].strip("-") in line) or "exceeds" in line
    assert "nan" not in line or option[1] == "nan"


def one_line(arguments: list[str]) -> str:
    """Runs what must fail with exit code 2 and no traceback; the one line that it says."""
    done = runner.invoke(app, arguments)
    assert done.exit_code == 2, (done.output, done.exception)
    assert done.stdout == ""
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("error: ")
    assert "Traceback" not in line
    return line


# Deltas of nothing, bases of nothing


@pytest.mark.parametrize(
    "settings", [{}, {"more": True, "curves": True}, {"size": SubspaceSize("rank", 8)}]
)
@pytest.mark.parametrize(("m", "n"), [(12, 9), (520, 540)])
def test_a_tuned_model_that_is_its_base_has_nulls(m: int, n: int, settings: dict[str, Any]) -> None:
    base = drawn(m, n)
    record = measured(base, base.clone(), **settings)
    for side in SIDES:
        found = getattr(record, side)
        assert (found.overlap, found.std, found.z) == (None, None, None)
        assert 0 < found.chance < 1
    assert record.delta.model_dump() == {
        "norm": 0, "spectral_norm": 0, "relative_norm": 0, "stable_rank": None,
        "effective_rank": None, "participation_ratio": None, "rounding_share": None,
    }  # fmt: skip
    assert (record.weighted.column, record.weighted.row) == (None, None)
    assert (record.more, record.curve) == ({}, None)


def test_the_command_says_that_nothing_changed_in_every_output(
    folders: Folders, tmp_path: Path
) -> None:
    """Full weights, an untrained adapter (B = 0), and one that cancels against its opposite."""
    untrained = write_adapter(tmp_path / "untrained", llama_tensors(0))
    file = untrained / "adapter_model.safetensors"
    factors = {n: t * ("lora_A" in n) for n, t in load_file(file).items()}
    save_file(factors, file, metadata={"format": "pt"})
    arguments = ["overlap", str(folders.base), str(folders.base), str(untrained)]
    outputs = ["--json", str(tmp_path / "o.json"), "--csv", str(tmp_path / "o.csv"),
               "--html", str(tmp_path / "o.html")]  # fmt: skip
    done = runner.invoke(app, [*arguments, *outputs, "--more", "--fail-above", "column=0"])
    assert done.exit_code == 0, (done.output, done.exception)
    assert "equals the base" in done.output
    assert "nan" not in done.output.lower().replace("nano", "")
    text = (tmp_path / "o.json").read_text()
    assert "NaN" not in text and "Infinity" not in text
    for model in json.loads(text)["models"]:
        assert model["summary"]["all"]["column"] is None
        assert model["summary"]["all"]["delta_norm"] == 0
    assert "nan" not in (tmp_path / "o.csv").read_text()


@pytest.mark.parametrize(
    "settings", [{}, {"more": True, "curves": True}, {"size": SubspaceSize("rank", 3)}]
)
@pytest.mark.parametrize(("m", "n"), [(6, 9), (9, 6), (520, 540)])
def test_a_base_of_zeros_is_told_apart_from_a_delta_of_zeros(
    m: int, n: int, settings: dict[str, Any]
) -> None:
    """Its subspace is any, so the bound is null; what divides by ‖W‖ is null too."""
    zeros, step = torch.zeros(m, n), drawn(m, n)
    record = measured(zeros, step, **settings)
    assert record.subspace.angle_bound is None
    assert (record.subspace.energy, record.subspace.gap) == (0, 0)
    assert (record.base.norm, record.base.spectral_norm) == (0, 0)
    assert (record.base.stable_rank, record.base.effective_rank) == (None, None)
    assert record.delta.relative_norm is None
    assert (record.weighted.column, record.weighted.row) == (None, None)
    assert record.delta.norm == pytest.approx(float(step.double().norm()))
    for side in SIDES:
        assert 0 <= getattr(record, side).overlap <= 1
    both = measured(zeros, zeros.clone(), **settings)
    assert both.column.overlap is None
    assert (both.delta.norm, both.delta.relative_norm) == (0, None)


def test_adapters_on_a_base_of_zeros_and_of_zeros_on_a_base(tmp_path: Path) -> None:
    base = llama_tensors(0)
    zero = base | {NAME: torch.zeros_like(base[NAME])}
    folder, adapter = write_model(tmp_path / "zero", zero), write_adapter(tmp_path / "lora", base)
    report = measure_overlap(folder, [adapter])
    assert_finite(report)
    (record,) = (r for r in report.models[0].matrices if r.name == NAME)
    assert record.weighted.column is None
    assert record.delta.norm > 0


# Single rows and columns


@pytest.mark.parametrize("settings", [{}, {"more": True, "curves": True}])
def test_a_single_row_or_column_by_hand(settings: dict[str, Any]) -> None:
    """w = (3, 4, 0), δ = (1, 2, 2). The side of dimension 1 holds everything, for certain; on the
    other k = 1 of 3 and cos² = (3 + 8)² / (25 · 9) = 121/225."""
    w, step = torch.tensor([[3.0, 4.0, 0.0]]), torch.tensor([[1.0, 2.0, 2.0]])
    row = measured(w, w + step, **settings)
    column = measured(w.T.contiguous(), (w + step).T.contiguous(), **settings)
    for record, sure, open_ in ((row, "column", "row"), (column, "row", "column")):
        assert record.subspace.rank == 1
        assert getattr(record, sure).model_dump() == pytest.approx(
            {"overlap": 1.0, "chance": 1.0, "std": 0.0, "z": None}
        )
        for side in (open_, "both"):
            assert getattr(record, side).overlap == pytest.approx(121 / 225)
            assert getattr(record, side).chance == pytest.approx(1 / 3)
            # a random direction in three dimensions: Var = 2 · 1 · 2 / (9 · 5) = 4/45
            assert getattr(record, side).std == pytest.approx(math.sqrt(4 / 45))
        assert getattr(record.weighted, sure) == pytest.approx(1)
        assert getattr(record.weighted, open_) == pytest.approx(121 / 225)
        assert record.delta.norm == pytest.approx(3)
        assert record.delta.stable_rank == pytest.approx(1)


def test_a_single_number() -> None:
    record = measured(torch.tensor([[2.0]]), torch.tensor([[-1.0]]), more=True, curves=True)
    for side in SIDES:
        assert getattr(record, side).model_dump() == {
            "overlap": 1, "chance": 1, "std": 0, "z": None,
        }  # fmt: skip
    assert record.delta.relative_norm == pytest.approx(1.5)
    assert record.curve is not None
    assert record.curve.k == [1]


@pytest.mark.parametrize(("m", "n"), [(1, 700), (700, 1), (1, 1)])
def test_an_adapter_on_a_single_row_or_column(m: int, n: int, tmp_path: Path) -> None:
    base = {NAME: drawn(m, n)}
    folder = write_model(tmp_path / "base", base)
    adapter = write_adapter(tmp_path / "lora", base, rank=2)
    factored = Adapter(adapter).factored(NAME)
    assert factored is not None
    tuned = {NAME: base[NAME] + factored.dense()}
    ours, theirs = measure_overlap(folder, [adapter, tuned]).models
    for side in SIDES:
        first, second = (getattr(model.matrices[0], side) for model in (ours, theirs))
        assert first.overlap == pytest.approx(second.overlap, abs=1e-5)
        assert first.chance == second.chance
    assert_finite(measure_overlap(folder, [adapter], more=True, curves=True))


# Numbers at the ends of their types

KINDS: dict[str, tuple[tuple[int, int], dict[str, Any]]] = {
    "small": ((20, 30), {}),
    "tall": ((30, 20), {"curves": True}),
    "further metrics": ((20, 30), {"more": True}),
    "products in float32": ((512, 640), {}),
    "tall, in float32": ((640, 512), {}),
    "leading vectors alone": ((520, 560), {"size": SubspaceSize("rank", 8)}),
}
"""Every path that the arithmetic takes. Well-conditioned bases of 512 rows go through float32."""


def pair(kind: str) -> tuple[Tensor, Tensor, dict[str, Any]]:
    """W and Δ of entries near 1, and settings."""
    (m, n), settings = KINDS[kind]
    base = drawn(m, n)
    if kind == "leading vectors alone":
        base = base @ torch.diag(torch.logspace(0, -1.5, n))
    return base, 0.1 * drawn(m, n, 1), settings


@pytest.mark.parametrize("power", [-138, -70, 60, 120])
@pytest.mark.parametrize("kind", KINDS)
def test_overlap_has_no_scale(kind: str, power: int) -> None:
    """2^p W and 2^p Δ read what W and Δ do, from float32's denormals (2⁻¹³⁸: below 2⁻¹²⁶) to its
    largest numbers, though their squares leave float32 at both ends."""
    base, step, settings = pair(kind)
    base, tuned = (torch.ldexp(t, torch.tensor(power)) for t in (base, base + step))
    record = measured(base, tuned, **settings)
    check_by_svd(record, base, tuned, within=2e-6)


@pytest.mark.parametrize("power", [-100, -60, 100])
@pytest.mark.parametrize("kind", KINDS)
def test_a_delta_may_be_of_another_size_than_its_base(kind: str, power: int) -> None:
    """Far smaller than W, in rows where W is zero, so that W + Δ keeps its digits; or larger."""
    base, step, settings = pair(kind)
    if power < 0:
        base[::2] = 0
        step[1::2] = 0
    tuned = base + torch.ldexp(step, torch.tensor(power))
    record = measured(base, tuned, **settings)
    check_by_svd(record, base, tuned, within=2e-6)


@pytest.mark.parametrize(("power", "other"), [(40, 100), (-40, -100)])
@pytest.mark.parametrize("kind", KINDS)
def test_products_of_base_and_delta_may_leave_float32(kind: str, power: int, other: int) -> None:
    """2⁴⁰ · 2¹⁰⁰ is beyond its largest number, 2⁻⁴⁰ · 2⁻¹⁰⁰ is among its denormals."""
    base, step, settings = pair(kind)
    base[::2] = 0
    step[1::2] = 0
    base, step = (torch.ldexp(t, torch.tensor(p)) for t, p in ((base, power), (step, other)))
    record = measured(base, base + step, **settings)
    check_by_svd(record, base, base + step, within=2e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_float16_up_to_its_largest_number(kind: str) -> None:
    """65504: its square is beyond float16, and the sum of them is not to be formed there."""
    base, step, settings = pair(kind)
    base = (base / base.abs().max() * 65504).half()
    tuned = (base.float() - 1000 * step.sign() * base.sign().float().abs()).clamp(-65504, 65504)
    tuned = tuned.half()
    assert float(base.abs().max()) == 65504
    record = measured(base, tuned, **settings)
    check_by_svd(record, base, tuned, within=1e-5)
    assert record.delta.rounding_share is not None
    assert 0 < record.delta.rounding_share < 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", KINDS)
def test_entries_near_the_largest_number_of_float32(kind: str, dtype: torch.dtype) -> None:
    base, step, settings = pair(kind)
    base = (base / base.abs().max() * 3.3e38).to(dtype)
    tuned = (base.float() * (1 - 0.01 * step.abs() / step.abs().max())).to(dtype)
    record = measured(base, tuned, **settings)
    check_by_svd(record, base, tuned, within=1e-5)


@pytest.mark.parametrize("kind", ["small", "products in float32"])
@pytest.mark.parametrize("entry", [2.0**-149, 1e-40, 1e-30, 1e30, 3e38])
def test_a_delta_of_one_direction_whatever_its_size(kind: str, entry: float) -> None:
    """Every entry of Δ is the same: σ₁ = entry √(mn), and ranks of 1."""
    (m, n), settings = KINDS[kind]
    base = torch.zeros(m, n)
    base[0] = 1e-3 * entry
    tuned = torch.full((m, n), entry)
    tuned[0] = base[0]
    record = measured(base, tuned, **settings)
    norm = float(tuned[1, 0]) * math.sqrt((m - 1) * n)
    assert record.delta.norm == pytest.approx(norm, rel=1e-6)
    assert record.delta.spectral_norm == pytest.approx(norm, rel=1e-6)
    for rank in ("stable_rank", "effective_rank", "participation_ratio"):
        assert getattr(record.delta, rank) == pytest.approx(1, rel=1e-3)


def test_a_difference_beyond_float32_is_an_error_that_names_the_tensor(tmp_path: Path) -> None:
    """3e38 − (−3e38): both can be read, their difference cannot."""
    base = llama_tensors(0)
    base[NAME][0, 0] = 3e38
    tuned = {name: tensor.clone() for name, tensor in base.items()}
    tuned[NAME][0, 0] = -3e38
    with pytest.raises(NonFiniteTensor, match=rf"state dict: {NAME} .*float32"):
        measure_overlap(base, [tuned])
    folders = [write_model(tmp_path / n, t) for n, t in (("base", base), ("tuned", tuned))]
    line = one_line(["overlap", *map(str, folders)])
    assert NAME in line and "tuned" in line


def test_a_difference_of_experts_beyond_float32_is_one_too() -> None:
    base = {STACK: torch.full((2, 3, 4), 3e38)}
    with pytest.raises(NonFiniteTensor, match=rf"{STACK} .*float32"):
        measure_overlap(base, [{STACK: -base[STACK]}])


# Numbers that are none


def broken(tensors: Mapping[str, Tensor], value: float) -> dict[str, Tensor]:
    out = {name: tensor.clone() for name, tensor in tensors.items()}
    out[NAME][3, 2] = value
    return out


@pytest.mark.parametrize("side", ["base", "tuned", "control"])
@pytest.mark.parametrize(
    ("dtype", "value", "kind"),
    [
        (torch.float32, math.nan, "NaN"),
        (torch.float32, -math.inf, "Inf"),
        (torch.bfloat16, 3.4e38, "Inf"),  # beyond bfloat16's 3.39e38: rounds to infinity
        (torch.float16, 7e4, "Inf"),  # beyond float16's 65504
        (torch.float16, math.nan, "NaN"),
    ],
)
def test_what_is_not_finite_in_a_file_is_named_in_one_line(
    side: str, dtype: torch.dtype, value: float, kind: str, tmp_path: Path
) -> None:
    base = llama_tensors(0)
    models = {"base": base, "tuned": moved(base, 1), "control": llama_tensors(7)}
    models[side] = broken(models[side], value)
    at = {
        name: write_model(tmp_path / name, {n: t.to(dtype) for n, t in tensors.items()})
        for name, tensors in models.items()
    }
    control = ["--control", str(at["control"])] if side == "control" else []
    line = one_line(["overlap", str(at["base"]), str(at["tuned"]), *control])
    assert f"{NAME} holds {kind}" in line
    assert str(at[side]) in line


def test_what_is_not_finite_among_the_tensors_left_out_is_no_matter() -> None:
    base = broken(llama_tensors(0), math.nan)
    report = measure_overlap(base, [moved(base, 1)], selection=Selection(exclude="up_proj"))
    assert_finite(report)
    assert len(report.models[0].matrices) == 12


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_an_adapter_that_is_not_finite_is_named(
    folders: Folders, tmp_path: Path, value: float
) -> None:
    file = folders.adapter / "adapter_model.safetensors"
    factors = load_file(file)
    name = f"base_model.model.{NAME.removesuffix('.weight')}.lora_B.weight"
    factors[name][1, 1] = value
    save_file(factors, file, metadata={"format": "pt"})
    line = one_line(["overlap", str(folders.base), str(folders.adapter)])
    assert "up_proj.lora_B.weight holds" in line


def test_a_norm_that_numpy_would_lose_in_float32_is_kept() -> None:
    """√(512 · 600) · 1e30 = 5.5e32, whose square no float32 holds."""
    with np.errstate(over="ignore"):
        assert np.isinf(np.float32(1e30) * np.float32(1e30))
    base = torch.full((512, 600), 1e30)
    record = measured(base, 2 * base, size=SubspaceSize("rank", 1))
    assert record.base.norm == pytest.approx(1e30 * math.sqrt(512 * 600), rel=1e-6)
    assert record.delta.relative_norm == pytest.approx(1)
    assert record.column.overlap == pytest.approx(1)
