"""An independent reference for overlaps: NumPy, float64, a plain SVD of the whole matrix."""

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray
from torch import Tensor

from weightlens.survey.result import MatrixRecord

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Reference:
    """What NumPy finds for one matrix."""

    rank: int
    column: float
    row: float
    both: float
    weighted_column: float
    weighted_row: float
    relative_norm: float
    effective_rank: float


def check_overlaps(record: MatrixRecord, base: Tensor, delta: Tensor) -> float:
    """Every overlap of a record within 1e-4 of the reference; returns the largest difference."""
    expected = overlap_by_svd(base.double().numpy(), delta.double().numpy(), 0.5)
    assert record.subspace.rank == expected.rank
    worst = 0.0
    for ours, theirs in (
        (record.column.overlap, expected.column),
        (record.row.overlap, expected.row),
        (record.both.overlap, expected.both),
        (record.weighted.column, expected.weighted_column),
        (record.weighted.row, expected.weighted_row),
        (record.delta.relative_norm, expected.relative_norm),
    ):
        assert ours is not None
        assert ours == pytest.approx(theirs, abs=1e-4), record.name
        worst = max(worst, abs(ours - theirs))
    assert record.delta.effective_rank == pytest.approx(expected.effective_rank, rel=1e-3)
    return worst


def overlap_by_svd(base: Matrix, delta: Matrix, energy: float) -> Reference:
    """Overlaps of a delta with the subspaces that hold `energy` of the base."""
    u, sigma, vt = np.linalg.svd(base, full_matrices=False)
    share = np.cumsum(sigma**2) / np.sum(sigma**2)
    k = int(np.argmax(share >= energy)) + 1
    total = np.sum(delta**2)
    q = np.linalg.svd(delta, compute_uv=False)
    q = q[q > 1e-12 * q[0]] / np.sum(q[q > 1e-12 * q[0]])
    return Reference(
        rank=k,
        column=np.sum((u[:, :k].T @ delta) ** 2) / total,
        row=np.sum((delta @ vt[:k].T) ** 2) / total,
        both=np.sum((u[:, :k].T @ delta @ vt[:k].T) ** 2) / total,
        weighted_column=np.sum((base.T @ delta) ** 2) / (np.sum(base**2) * total),
        weighted_row=np.sum((delta @ base.T) ** 2) / (np.sum(base**2) * total),
        relative_norm=float(np.sqrt(total / np.sum(base**2))),
        effective_rank=float(np.exp(-np.sum(q * np.log(q)))),
    )
