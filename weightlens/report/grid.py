"""Overlap by layer and module, as tables and heatmaps show it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median_low
from typing import Literal

from weightlens.survey.result import MatrixRecord, Mean, ModelRecord, OverlapRecord, StackRecord

Side = Literal["column", "row", "both"]
SIDES: tuple[Side, ...] = ("column", "row", "both")

ModulePart = tuple[str, str | None]
"""A module, or with a part's name some of its rows (the query of a fused qkv_proj)."""


@dataclass(frozen=True)
class Cell:
    """Means over the matrices of one place, by the energy of their deltas; the median z."""

    overlap: float
    chance: float
    z: float | None

    @property
    def ratio(self) -> float:
        """Overlap over chance."""
        return self.overlap / self.chance


Plane = tuple[tuple[Cell | None, ...], ...]


@dataclass(frozen=True)
class Grid:
    """Rows = layers, columns = modules and parts of modules; None where there is no matrix.

    Several matrices in one place (experts) are averaged. parts: the columns whose matrices are
    counted in another column too.
    """

    layers: tuple[int | None, ...]
    columns: tuple[str, ...]
    parts: frozenset[str]
    planes: Mapping[Side, Plane]

    @property
    def layer_names(self) -> list[str]:
        """Layers as text; those outside the stack of layers are a dash."""
        return ["–" if layer is None else str(layer) for layer in self.layers]

    def ratios(self, side: Side) -> list[list[float | None]]:
        """Overlap over chance, line by line."""
        return [
            [None if cell is None else cell.ratio for cell in line] for line in self.planes[side]
        ]

    def zs(self, side: Side) -> list[list[float | None]]:
        """z, line by line."""
        return [[None if cell is None else cell.z for cell in line] for line in self.planes[side]]


def _in_order(layers: Iterable[int | None]) -> tuple[int | None, ...]:
    """Each once, by number (files go by name: 10 before 2); first what is outside the layers."""
    return tuple(sorted(set(layers), key=lambda layer: -1 if layer is None else layer))


def overlap_grid(model: ModelRecord) -> Grid:
    """The grid of a model's matrices."""
    cells: dict[tuple[int | None, ModulePart], list[MatrixRecord]] = {}
    for matrix in model.matrices:
        cells.setdefault((matrix.layer, (matrix.module, matrix.part)), []).append(matrix)
    labels = column_labels(model.matrices)
    layers = _in_order(m.layer for m in model.matrices)

    def plane(side: Side) -> Plane:
        return tuple(
            tuple(mean_cell(cells.get((layer, key), ()), side) for key in labels)
            for layer in layers
        )

    return Grid(
        layers,
        tuple(labels.values()),
        frozenset(label for (_, part), label in labels.items() if part is not None),
        {side: plane(side) for side in SIDES},
    )


def stack_grid(stacks: Sequence[StackRecord]) -> Grid:
    """The grid of stacks of experts, each as the one matrix that it is in aggregate."""
    short = short_modules([stack.module for stack in stacks])
    layers = _in_order(stack.layer for stack in stacks)

    def plane(side: Side) -> Plane:
        return tuple(
            tuple(
                mean_cell([s for s in stacks if (s.layer, s.module) == (layer, module)], side)
                for module in short
            )
            for layer in layers
        )

    return Grid(
        layers,
        tuple(short.values()),
        frozenset(),
        {side: plane(side) for side in SIDES},
    )


def mean_cell(records: Iterable[MatrixRecord | StackRecord], side: Side) -> Cell | None:
    """What several matrices read together; None where every delta is zero."""
    weighed = [
        (measured, _norm(record) ** 2)
        for record in records
        if (measured := side_of(record, side)).overlap is not None
    ]
    energy = sum(e for _, e in weighed)
    chance = sum(o.chance * e for o, e in weighed)
    if not chance:
        return None
    known = [o.z for o, _ in weighed if o.z is not None]
    return Cell(
        sum((o.overlap or 0.0) * e for o, e in weighed) / energy,
        chance / energy,
        median_low(known) if known else None,
    )


def _norm(record: MatrixRecord | StackRecord) -> float:
    return record.delta.norm if isinstance(record, MatrixRecord) else record.delta_norm


def side_of(record: MatrixRecord | StackRecord, side: Side) -> OverlapRecord:
    """The overlap of one side."""
    return {"column": record.column, "row": record.row, "both": record.both}[side]


def mean_over_chance(mean: Mean | None, side: Side) -> float | None:
    """Of a mean over many matrices, overlap over chance of one side."""
    if mean is None:
        return None
    return {
        "column": mean.column_over_chance,
        "row": mean.row_over_chance,
        "both": mean.both_over_chance,
    }[side]


def column_labels(matrices: Iterable[MatrixRecord]) -> dict[ModulePart, str]:
    """A short label for each module and, right after it, for each of its parts."""
    modules: dict[str, dict[str | None, None]] = {}
    for matrix in matrices:
        modules.setdefault(matrix.module, {})[matrix.part] = None
    short = short_modules(list(modules))
    return {
        (module, part): short[module] if part is None else f"{short[module]}.{part}"
        for module, parts in modules.items()
        for part in sorted(parts, key=lambda part: part is not None)
    }


def short_modules(modules: Sequence[str]) -> dict[str, str]:
    """The last part of each module's name where that is unambiguous, else the whole name."""
    names = list(dict.fromkeys(modules))
    last = [name.rsplit(".", 1)[-1] for name in names]
    return {n: s if last.count(s) == 1 else n for n, s in zip(names, last, strict=True)}
