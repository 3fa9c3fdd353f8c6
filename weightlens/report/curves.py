"""Overlap against k, as a mean over the layers of each module."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from weightlens.report.grid import SIDES, Side, column_labels
from weightlens.survey.result import CurveRecord, MatrixRecord, ModelRecord


@dataclass(frozen=True)
class MeanCurve:
    """One module of one model: means over its layers, by the energy of their deltas.

    share: k / min(m, n), rising. ranks: the k themselves, None where the layers differ in shape.
    overlap and chance: a value for each share.
    """

    module: str
    part: bool
    share: tuple[float, ...]
    ranks: tuple[int, ...] | None
    overlap: Mapping[Side, tuple[float, ...]]
    chance: Mapping[Side, tuple[float, ...]]


def mean_curves(model: ModelRecord) -> list[MeanCurve]:
    """A curve for each module, and for each part of one; none for matrices without curves."""
    groups: dict[str, list[tuple[MatrixRecord, CurveRecord]]] = {}
    labels = column_labels(model.matrices)
    parts = set()
    for matrix in model.matrices:
        if matrix.curve is not None and matrix.curve.k and matrix.delta.norm:
            label = labels[matrix.module, matrix.part]
            groups.setdefault(label, []).append((matrix, matrix.curve))
            if matrix.part is not None:
                parts.add(label)
    return [
        _mean(label, label in parts, groups[label]) for label in labels.values() if label in groups
    ]


def chance_alone(curves: Iterable[MeanCurve], side: Side) -> set[str]:
    """The modules whose chance line is that of no other module."""
    lines: dict[float, set[str]] = {}
    for curve in curves:
        # chance is a straight line in the share of ranks, and a parabola for both sides
        full = curve.chance[side][-1] / curve.share[-1] ** (2 if side == "both" else 1)
        lines.setdefault(round(full, 9), set()).add(curve.module)
    return {module for modules in lines.values() if len(modules) == 1 for module in modules}


def _mean(label: str, part: bool, group: Sequence[tuple[MatrixRecord, CurveRecord]]) -> MeanCurve:
    share = _common_shares([_shares(matrix, curve) for matrix, curve in group])
    energy = np.array([matrix.delta.norm**2 for matrix, _ in group])
    weights = energy / energy.sum()
    sizes = {min(matrix.shape) for matrix, _ in group}
    size = sizes.pop() if len(sizes) == 1 else None

    def overlap(side: Side) -> tuple[float, ...]:
        read = [
            np.interp(share, _shares(matrix, curve), values_of(curve, side))
            for matrix, curve in group
        ]
        return tuple((weights @ np.array(read)).tolist())

    def chance(side: Side) -> tuple[float, ...]:
        read = [_chance(share, matrix.shape, side) for matrix, _ in group]
        return tuple((weights @ np.array(read)).tolist())

    return MeanCurve(
        label,
        part,
        tuple(share.tolist()),
        None if size is None else tuple(round(s * size) for s in share.tolist()),
        {side: overlap(side) for side in SIDES},
        {side: chance(side) for side in SIDES},
    )


def _shares(matrix: MatrixRecord, curve: CurveRecord) -> Float[np.ndarray, "k"]:
    return np.array(curve.k, dtype=float) / min(matrix.shape)


def _common_shares(shares: Sequence[Float[np.ndarray, "_"]]) -> Float[np.ndarray, "k"]:
    """The points that all curves have; where those are few, all points within all curves."""
    common = set(shares[0].tolist()).intersection(*[s.tolist() for s in shares[1:]])
    if 2 * len(common) >= min(len(s) for s in shares):
        return np.array(sorted(common))
    low, high = max(s[0] for s in shares), min(s[-1] for s in shares)
    return np.array(sorted({s for one in shares for s in one.tolist() if low <= s <= high}))


def _chance(
    share: Float[np.ndarray, "k"], shape: tuple[int, int], side: Side
) -> Float[np.ndarray, "k"]:
    m, n = shape
    k = share * min(m, n)
    return {"column": k / m, "row": k / n, "both": k * k / (m * n)}[side]


def values_of(curve: CurveRecord, side: Side) -> list[float]:
    """The overlaps of one side, rank by rank."""
    return {"column": curve.column, "row": curve.row, "both": curve.both}[side]
