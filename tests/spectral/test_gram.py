"""Products on the short side, in every orientation and dtype, against NumPy in float64."""

import numpy as np
import pytest
import torch
from torch import Tensor

from weightlens.spectral.gram import (
    cross_product,
    gram_singular_values,
    long_product,
    panels,
    short_gram,
    singular_values,
    wide,
)

PANEL = 1024
"""Columns that are widened at a time."""

WIDTHS = [PANEL - 1, PANEL, PANEL + 1, 2 * PANEL, 2 * PANEL + 5]
EPS = 2.0**-52
KINDS = ["float64", "float32", "bfloat16", "from bfloat16"]


def drawn(m: int, n: int, kind: str, *, seed: int = 3) -> Tensor:
    """A matrix with entries of many sizes, as what it is stored in."""
    generator = torch.Generator().manual_seed(seed)
    matrix = torch.randn(m, n, generator=generator, dtype=torch.float64)
    matrix *= 10 ** (4 * torch.rand(m, 1, generator=generator, dtype=torch.float64) - 2)
    if kind == "from bfloat16":
        return matrix.bfloat16().float()
    return matrix.to(getattr(torch, kind))


def oriented(m: int, n: int, kind: str, how: str) -> Tensor:
    """The same m x n entries: as they lie, as a transposed view, as a view with gaps."""
    matrix = drawn(m, n, kind)
    if how == "transposed":
        return matrix.T.contiguous().T
    if how == "sliced":
        wider = torch.zeros(2 * m, n + 3, dtype=matrix.dtype)
        wider[::2, 2:-1] = matrix
        return wider[::2, 2:-1]
    return matrix


def exact(matrix: Tensor) -> np.ndarray:
    return matrix.double().numpy()


def close(ours: Tensor, left: np.ndarray, right: np.ndarray) -> bool:
    """ours against left @ right, to what rounding in float64 can do: |L| |R| eps times the length
    of the sums (Higham 2002, section 3.5)."""
    allowed = left.shape[1] * EPS * (np.abs(left) @ np.abs(right))
    return bool((np.abs(ours.numpy() - left @ right) <= allowed + 1e-300).all())


@pytest.mark.parametrize("how", ["as it lies", "transposed", "sliced"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("width", WIDTHS)
def test_the_gram_matrix_is_that_of_the_short_side(width: int, kind: str, how: str) -> None:
    matrix = oriented(13, width, kind, how)
    for turned in (matrix, matrix.T):
        gram = short_gram(turned)
        assert gram.dtype == torch.float64
        assert gram.shape == (13, 13)
        assert close(gram, exact(matrix), exact(matrix).T)
        assert torch.equal(gram, gram.T)


@pytest.mark.parametrize("d", [1, 2, 7, 8, 9, 16, 17, 65])
def test_its_strips_cover_the_matrix_and_mirror_bit_for_bit(d: int) -> None:
    """Eight strips: also where there are fewer rows, or where the last has fewer."""
    for dtype in (torch.float64, torch.float32):
        matrix = drawn(d, 2 * d + 1, "float32")
        gram = short_gram(matrix, dtype=dtype)
        assert gram.dtype == dtype
        assert torch.equal(gram, gram.T)
        expected = exact(matrix) @ exact(matrix).T
        assert gram.double().numpy() == pytest.approx(expected, rel=1e-4, abs=1e-5 * expected.max())


def test_a_large_gram_matrix_is_symmetric_bit_for_bit(generator: torch.Generator) -> None:
    """Where products run in tiles of other shapes on either side of the diagonal."""
    for shape in ((300, 1500), (1500, 300), (517, 517)):
        gram = short_gram(torch.randn(shape, generator=generator))
        assert torch.equal(gram, gram.T)


def test_its_trace_is_the_squared_norm_also_below_what_float32_squares_hold() -> None:
    """Entries of 2⁻⁹⁰ and 2⁹⁰: squares of 2⁻¹⁸⁰ and 2¹⁸⁰ leave float32, 12 of each do not lose."""
    for entry in (2.0**-90, 2.0**90):
        gram = short_gram(torch.full((3, 4), entry))
        assert float(gram.trace()) == 12 * entry**2


def test_directions_far_below_the_first_are_read_to_float64() -> None:
    """diag(1, 1e-5): in float32 the second would be 1e-10 below an eps of 6e-8."""
    matrix = torch.zeros(2, 3)
    matrix[0, 0], matrix[1, 1] = 1, 1e-5
    turn = torch.linalg.qr(drawn(2, 2, "float64", seed=4))[0]
    sigma = singular_values(turn @ matrix.double())
    assert sigma.tolist() == pytest.approx([1, 1e-5], rel=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("width", WIDTHS)
def test_cross_products_are_numpys(width: int, kind: str) -> None:
    for how, other in (("as it lies", "transposed"), ("sliced", "as it lies")):
        left, right = oriented(9, width, kind, how), oriented(6, width, "float32", other)
        product = cross_product(left, right)
        assert (product.dtype, product.shape) == (torch.float64, (9, 6))
        assert close(product, exact(left), exact(right).T)


@pytest.mark.parametrize("rows", [1, 3000, 9000])
def test_cross_products_of_many_rows_with_few_are_numpys(rows: int) -> None:
    """Whose panels by themselves would be of different widths."""
    left, right = drawn(rows, 1100, "float32"), drawn(2, 1100, "float64", seed=6)
    assert close(cross_product(left, right), exact(left), exact(right).T)
    assert close(cross_product(right, left), exact(right), exact(left).T)


def test_a_cross_product_in_float32_is_one(generator: torch.Generator) -> None:
    left, right = (torch.randn(d, 1500, generator=generator) for d in (5, 7))
    product = cross_product(left, right, dtype=torch.float32)
    assert product.dtype == torch.float32
    assert product.numpy() == pytest.approx(exact(left) @ exact(right).T, abs=1e-3)


def test_a_matrix_times_itself_crosswise_is_its_gram_matrix() -> None:
    """Both operands are the same tensor: neither panel may overwrite the other."""
    matrix = drawn(10, 2100, "float32")
    assert torch.allclose(cross_product(matrix, matrix), short_gram(matrix), rtol=1e-13)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("width", WIDTHS)
def test_long_products_are_numpys(width: int, kind: str) -> None:
    vectors = drawn(8, 3, "float64", seed=5)
    for how in ("as it lies", "transposed", "sliced"):
        short = oriented(8, width, kind, how)
        product = long_product(short, vectors)
        assert (product.dtype, product.shape) == (torch.float64, (width, 3))
        assert close(product, exact(short).T, vectors.numpy())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("width", [1, *WIDTHS])
def test_panels_are_the_columns_in_order(width: int, kind: str, dtype: torch.dtype) -> None:
    for how in ("as it lies", "transposed", "sliced"):
        matrix = oriented(4, width, kind, how)
        copies = []
        for panel in panels(matrix, dtype=dtype):
            assert panel.dtype == dtype
            assert panel.shape[1] <= PANEL
            copies.append(panel.clone())  # each is gone at the next
        assert torch.equal(torch.cat(copies, dim=1), matrix.to(dtype))


def test_panels_leave_the_matrix_alone() -> None:
    matrix = drawn(4, 2100, "float32")
    before = matrix.clone()
    for _ in panels(matrix):
        pass
    short_gram(matrix)
    short_gram(matrix.T)
    assert torch.equal(matrix, before)


def test_wide_turns_what_is_tall() -> None:
    assert wide(torch.zeros(3, 5)).shape == wide(torch.zeros(5, 3)).shape == (3, 5)
    assert wide(torch.zeros(4, 4)).shape == (4, 4)


@pytest.mark.parametrize(("m", "n"), [(1, 9), (9, 1), (6, 11), (11, 6), (7, 7)])
def test_singular_values_are_numpys(m: int, n: int) -> None:
    matrix = drawn(m, n, "float32")
    expected = np.linalg.svd(exact(matrix), compute_uv=False)
    found = singular_values(matrix)
    assert found.dtype == torch.float64
    # below 1e-7 σ₁ it is rounding, and none is here
    assert found.numpy() == pytest.approx(expected, rel=1e-6)
    assert torch.equal(gram_singular_values(short_gram(matrix)), found)
