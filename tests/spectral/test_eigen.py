"""Eigenpairs in the matrix's own memory: LAPACK's own numbers, and the matrix as it was."""

from threading import Event, Thread
from typing import Any

import numpy as np
import pytest
import torch

from weightlens.spectral import eigen
from weightlens.spectral.eigen import eigenpairs, eigenvalues, mirror


@pytest.fixture(params=[1, 10_000], ids=["in place", "by torch"])
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(eigen, "IN_PLACE_FROM", request.param)


def symmetric(values: list[float], generator: torch.Generator) -> torch.Tensor:
    d = len(values)
    q, _ = torch.linalg.qr(torch.randn(d, d, generator=generator, dtype=torch.float64))
    found = (q * torch.tensor(values, dtype=torch.float64)) @ q.T
    mirror(found)
    return found


SPECTRA = {
    "distinct": [9.0, 5.0, 4.0, 1.0, 0.5],
    "with negative ones": [3.0, 1.0, 0.0, -2.0, -4.0],
    "equal": [2.0] * 5,
    "of rank one": [7.0, 0.0, 0.0, 0.0, 0.0],
    "a single one": [3.0],
}


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize("values", SPECTRA.values(), ids=SPECTRA)
def test_pairs_are_numpys_in_descending_order(
    values: list[float], generator: torch.Generator
) -> None:
    matrix = symmetric(values, generator)
    before = matrix.clone()
    found, vectors = eigenpairs(matrix)
    assert torch.equal(matrix, before)
    assert torch.equal(eigenvalues(matrix), found) or torch.allclose(eigenvalues(matrix), found)
    assert torch.equal(matrix, before)
    assert found.numpy() == pytest.approx(np.linalg.eigvalsh(before.numpy())[::-1], abs=1e-12)
    assert torch.allclose(vectors.T @ vectors, torch.eye(len(values)).double(), atol=1e-12)
    assert torch.allclose(before @ vectors, vectors * found, atol=1e-12)


@pytest.mark.usefixtures("path")
def test_zeros_have_no_sign() -> None:
    assert not torch.signbit(eigenvalues(torch.zeros(4, 4, dtype=torch.float64))).any()


def test_a_large_matrix_goes_the_way_that_takes_less_memory(generator: torch.Generator) -> None:
    d = eigen.IN_PLACE_FROM
    matrix = torch.randn(d, 8, generator=generator, dtype=torch.float64)
    matrix = matrix @ matrix.T
    mirror(matrix)
    before = matrix.clone()
    found, vectors = eigenpairs(matrix)
    assert torch.equal(matrix, before)
    assert vectors.stride() == (1, d)
    assert found[:8].numpy() == pytest.approx(torch.linalg.eigvalsh(matrix).flip(0)[:8].numpy())
    residual = torch.linalg.matrix_norm(matrix @ vectors - vectors * found)
    assert float(residual) < 1e-12 * float(found[0])


@pytest.mark.parametrize("d", [1, 2, 127, 128, 129, 300])
def test_a_mirrored_matrix_is_symmetric_to_the_last_bit(d: int, generator: torch.Generator) -> None:
    matrix = torch.randn(d, d, generator=generator)
    below = matrix.tril()
    mirror(matrix)
    assert torch.equal(matrix, matrix.T)
    assert torch.equal(matrix.tril(), below)


@pytest.mark.parametrize("count", [0, 2, 3])
def test_where_lapack_does_not_come_to_an_end_torch_takes_over(
    count: int, monkeypatch: pytest.MonkeyPatch, generator: torch.Generator
) -> None:
    def failing(*arguments: Any) -> None:
        matrix, found, failed = arguments[4], arguments[11], arguments[20]
        matrix[*torch.triu_indices(3, 3)] = torch.nan  # LAPACK's to use, as is the diagonal
        found.value, failed.value = count, 3 if count == 3 else 0

    monkeypatch.setattr(eigen, "IN_PLACE_FROM", 1)
    monkeypatch.setattr(eigen, "_dsyevr", lambda: failing)
    matrix = symmetric([4.0, 2.0, 1.0], generator)
    before = matrix.clone()
    assert eigenvalues(matrix).tolist() == pytest.approx([4.0, 2.0, 1.0])
    assert eigenpairs(matrix)[0].tolist() == pytest.approx([4.0, 2.0, 1.0])
    assert torch.equal(matrix, before)


def test_where_there_is_no_routine_torch_takes_over(
    monkeypatch: pytest.MonkeyPatch, generator: torch.Generator
) -> None:
    monkeypatch.setattr(eigen, "IN_PLACE_FROM", 1)
    monkeypatch.setattr(eigen, "_dsyevr", lambda: None)
    assert eigenvalues(symmetric([4.0, 2.0], generator)).tolist() == pytest.approx([4.0, 2.0])


def test_other_threads_go_on_meanwhile(
    monkeypatch: pytest.MonkeyPatch, generator: torch.Generator
) -> None:
    """A bar is drawn, and files are read, while a matrix is factorised."""
    matrix = torch.randn(900, 1000, generator=generator, dtype=torch.float64)
    matrix = matrix @ matrix.T
    mirror(matrix)
    monkeypatch.setattr(eigen, "IN_PLACE_FROM", 1)
    eigenpairs(matrix[:5, :5].contiguous())  # whatever is loaded once
    dsyevr, ticks, during = eigen._dsyevr(), [0], []
    assert dsyevr is not None

    def counted(*arguments: Any) -> None:
        before = ticks[0]
        dsyevr(*arguments)
        during.append(ticks[0] - before)

    monkeypatch.setattr(eigen, "_dsyevr", lambda: counted)
    stop = Event()

    def tick() -> None:
        while not stop.wait(0.001):
            ticks[0] += 1

    thread = Thread(target=tick)
    thread.start()
    eigenpairs(matrix)
    stop.set()
    thread.join()
    assert during[0] >= 3
