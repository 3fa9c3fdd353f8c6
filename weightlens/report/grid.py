"""Overlap by layer and module, as tables and heatmaps show it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from weightlens.survey.result import MatrixRecord, ModelRecord, OverlapRecord


@dataclass(frozen=True)
class Grid:
    """Overlap over chance, rows = layers, columns = modules; None where there is no matrix.

    Several matrices in one place (experts) are averaged by the energy of their deltas.
    """

    layers: tuple[int | None, ...]
    modules: tuple[str, ...]
    column: tuple[tuple[float | None, ...], ...]
    row: tuple[tuple[float | None, ...], ...]


def overlap_grid(model: ModelRecord) -> Grid:
    """The grid of a model, modules by their short names."""
    layers = tuple(dict.fromkeys(m.layer for m in model.matrices))
    modules = tuple(dict.fromkeys(m.module for m in model.matrices))
    short = short_modules(modules)
    cells: dict[tuple[int | None, str], list[MatrixRecord]] = {}
    for matrix in model.matrices:
        cells.setdefault((matrix.layer, matrix.module), []).append(matrix)

    def ratios(
        side: Callable[[MatrixRecord], OverlapRecord],
    ) -> tuple[tuple[float | None, ...], ...]:
        return tuple(
            tuple(_over_chance(cells.get((layer, module), []), side) for module in modules)
            for layer in layers
        )

    return Grid(
        layers,
        tuple(short[m] for m in modules),
        ratios(lambda m: m.column),
        ratios(lambda m: m.row),
    )


def _over_chance(
    matrices: Sequence[MatrixRecord], side: Callable[[MatrixRecord], OverlapRecord]
) -> float | None:
    overlap = chance = 0.0
    for matrix in matrices:
        measured, energy = side(matrix), matrix.delta.norm**2
        overlap += (measured.overlap or 0.0) * energy
        chance += measured.chance * energy
    return overlap / chance if chance else None


def short_modules(modules: Sequence[str]) -> dict[str, str]:
    """The last part of each module's name where that is unambiguous, else the whole name."""
    names = list(dict.fromkeys(modules))
    last = [name.rsplit(".", 1)[-1] for name in names]
    return {n: s if last.count(s) == 1 else n for n, s in zip(names, last, strict=True)}
