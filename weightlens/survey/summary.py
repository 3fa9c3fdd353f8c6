"""Means over matrices: plain, and weighted by the energy of each delta."""

from collections.abc import Callable, Sequence

from weightlens.survey.result import MatrixRecord, Mean, OverlapRecord, Summary


def summarise(matrices: Sequence[MatrixRecord]) -> Summary:
    """Means over all matrices and by module, modules in the order of their first matrix.

    Parts of a fused tensor are left out: it is counted whole.
    """
    modules: dict[str, list[MatrixRecord]] = {}
    matrices = [matrix for matrix in matrices if matrix.part is None]
    for matrix in matrices:
        modules.setdefault(matrix.module, []).append(matrix)
    return Summary(
        all=mean_of(matrices), modules={name: mean_of(group) for name, group in modules.items()}
    )


def mean_of(matrices: Sequence[MatrixRecord]) -> Mean:
    """The means of a group; None throughout where every delta is zero."""
    changed = [m for m in matrices if m.column.overlap is not None]
    weights = [m.delta.norm**2 for m in changed]
    total = sum(weights)

    def mean(read: Callable[[MatrixRecord], float | None], weighted: bool) -> float | None:
        shares = weights if weighted else [1.0] * len(changed)
        pairs = [(read(m), w) for m, w in zip(changed, shares, strict=True)]
        known = [(v, w) for v, w in pairs if v is not None]
        return sum(v * w for v, w in known) / sum(w for _, w in known) if known else None

    def ratio(side: Callable[[MatrixRecord], OverlapRecord]) -> float | None:
        over = mean(lambda m: side(m).overlap, True)
        chance = mean(lambda m: side(m).chance, True)
        return over / chance if over is not None and chance else None

    return Mean(
        matrices=len(matrices),
        column=mean(lambda m: m.column.overlap, False),
        row=mean(lambda m: m.row.overlap, False),
        both=mean(lambda m: m.both.overlap, False),
        column_by_energy=mean(lambda m: m.column.overlap, True),
        row_by_energy=mean(lambda m: m.row.overlap, True),
        both_by_energy=mean(lambda m: m.both.overlap, True),
        column_over_chance=ratio(lambda m: m.column),
        row_over_chance=ratio(lambda m: m.row),
        both_over_chance=ratio(lambda m: m.both),
        weighted_column_over_chance=mean(lambda m: _times(m.weighted.column, m.shape[0]), True),
        weighted_row_over_chance=mean(lambda m: _times(m.weighted.row, m.shape[1]), True),
        rounding_share=mean(lambda m: m.delta.rounding_share, True),
        delta_norm=total**0.5,
    )


def _times(value: float | None, factor: int) -> float | None:
    return None if value is None else value * factor
