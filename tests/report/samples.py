"""Overlap reports made up by hand, with everything that one can hold."""

import random
from collections.abc import Sequence

from weightlens.survey.result import (
    BaseSpectrum,
    CurveRecord,
    DeltaSpectrum,
    Factorisations,
    MatrixRecord,
    ModelRecord,
    OverlapRecord,
    OverlapReport,
    StackRecord,
    SubspaceChoice,
    SubspaceRecord,
    WeightedRecord,
)
from weightlens.survey.summary import summarise

LLAMA = {
    "self_attn.q_proj": (64, 64),
    "self_attn.k_proj": (32, 64),
    "self_attn.v_proj": (32, 64),
    "self_attn.o_proj": (64, 64),
    "mlp.gate_proj": (176, 64),
    "mlp.up_proj": (176, 64),
    "mlp.down_proj": (64, 176),
}
FUSED = {
    "self_attn.qkv_proj": (128, 64),
    "self_attn.qkv_proj/query": (64, 64),
    "self_attn.qkv_proj/key": (32, 64),
    "self_attn.qkv_proj/value": (32, 64),
    "self_attn.o_proj": (64, 64),
    "mlp.gate_up_proj": (352, 64),
    "mlp.gate_up_proj/gate": (176, 64),
    "mlp.gate_up_proj/up": (176, 64),
    "mlp.down_proj": (64, 176),
}


def overlap(value: float, chance: float) -> OverlapRecord:
    std = 0.08 * chance
    return OverlapRecord(overlap=value, chance=chance, std=std, z=(value - chance) / std)


def curve(column: float, row: float, shape: tuple[int, int]) -> CurveRecord:
    """column, row: how far above chance at k = 1."""
    (m, n), size = shape, min(shape)
    ranks = sorted({max(1, round(size ** (i / 24))) for i in range(25)})

    def above(times: float, d: int) -> list[float]:
        return [min(1.0, k / d * times ** (1 - k / size)) for k in ranks]

    columns, rows = above(column, m), above(row, n)
    both = [c * r for c, r in zip(columns, rows, strict=True)]
    return CurveRecord(k=ranks, column=columns, row=rows, both=both)


def matrix(
    layer: int, key: str, shape: tuple[int, int], *, times: float = 1.0, seed: int = 0
) -> MatrixRecord:
    """A matrix that reads about `times` chance; key: module, or module/part."""
    draw = random.Random(f"{layer} {key} {seed}")
    module, _, part = key.partition("/")
    (m, n), k = shape, 1 + min(shape) // 5
    column = 1 + (times - 1) * draw.uniform(0.3, 1.2) + draw.uniform(-0.15, 0.15)
    row = 1 + (times - 1) * draw.uniform(0.5, 2.0) + draw.uniform(-0.15, 0.15)
    at = (column * k / m, row * k / n)
    return MatrixRecord(
        name=f"model.layers.{layer}.{module}.weight",
        expert=None, part=part or None, layer=layer, module=module, shape=shape,
        base=BaseSpectrum(norm=8, spectral_norm=2, stable_rank=16, effective_rank=30),
        delta=DeltaSpectrum(
            norm=draw.uniform(0.5, 1.5), spectral_norm=0.4, relative_norm=0.12,
            stable_rank=6, effective_rank=20, participation_ratio=12, rounding_share=2e-4,
        ),
        subspace=SubspaceRecord(rank=k, energy=0.5, gap=0.1, angle_bound=2.6e-9),
        column=overlap(at[0], k / m), row=overlap(at[1], k / n),
        both=overlap(at[0] * at[1], k * k / (m * n)),
        weighted=WeightedRecord(column=column / m, row=row / n),
        curve=curve(column, row, shape),
    )  # fmt: skip


def model(
    name: str, shapes: dict[str, tuple[int, int]] = LLAMA, *, layers: int = 4,
    times: float = 1.4, seed: int = 0,
) -> ModelRecord:  # fmt: skip
    matrices = [
        matrix(layer, key, shape, times=times * (1.6 if layer == 0 else 1), seed=seed)
        for layer in range(layers)
        for key, shape in shapes.items()
    ]
    return ModelRecord(
        model=name,
        kind="full",
        summary=summarise([m for m in matrices if m.part is None]),
        skipped=[],
        matrices=matrices,
    )


def rounded(name: str, share: float) -> ModelRecord:
    """A model in whose deltas rounding has this share."""
    made = model(name)
    matrices = [
        m.model_copy(update={"delta": m.delta.model_copy(update={"rounding_share": share})})
        for m in made.matrices
    ]
    return made.model_copy(update={"matrices": matrices, "summary": summarise(matrices)})


def training(steps: Sequence[int]) -> list[ModelRecord]:
    """Checkpoints of one run: the overlap falls while the delta grows."""
    found = []
    for i, step in enumerate(steps):
        made = model(f"runs/a/checkpoint-{step}", times=3 / (i + 1) + 0.5, seed=i)
        grown = [
            m.model_copy(
                update={"delta": m.delta.model_copy(update={"norm": 0.2 * (i + 1) ** 0.5})}
            )
            for m in made.matrices
        ]
        found.append(
            made.model_copy(update={"step": step, "matrices": grown, "summary": summarise(grown)})
        )
    return found


def stacks(layers: int = 4) -> list[StackRecord]:
    found = []
    for layer in range(layers):
        for i, module in enumerate(("mlp.experts.gate_up_proj", "mlp.experts.down_proj")):
            found.append(
                StackRecord(
                    layer=layer, module=module, experts=8, delta_norm=3.0 + i,
                    column=overlap(0.2 + 0.02 * layer, 0.2), row=overlap(0.3 - 0.04 * layer, 0.2),
                    both=overlap(0.06, 0.04),
                )
            )  # fmt: skip
    return found


def report(models: Sequence[ModelRecord]) -> OverlapReport:
    return OverlapReport(
        weightlens="0", base="models/base", subspace=SubspaceChoice(by="energy", value=0.5),
        factorisations=Factorisations(partial=12, fallback=1, cached=3), models=list(models),
    )  # fmt: skip


def everything() -> OverlapReport:
    """Two models of a fused architecture with parts, curves, experts and a step."""
    return report(
        [
            model("runs/a/tuned", FUSED).model_copy(update={"step": 100, "stacks": stacks()}),
            model("runs/b/tuned", FUSED, times=0.9, seed=1).model_copy(update={"step": 200}),
        ]
    )
