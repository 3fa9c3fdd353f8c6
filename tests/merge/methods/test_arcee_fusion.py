import numpy as np
import torch
from fine_tunes import Family, family, vector
from hypothesis import given, settings
from hypothesis import strategies as st

from weightlens.merge.method import merged
from weightlens.merge.methods.arcee_fusion import ArceeFusion


# One row, so one divergence D: the importances are D times 1, 2, 3, 10 (tenths). Their quartiles
# are the entries ⌊3/4⌋ = 0, ⌊3/2⌋ = 1 and ⌊9/4⌋ = 2 in order: D, 2D, 3D. The threshold is
# 2D + 1.5 (3D − D) = 5D, which the last alone reaches.
def test_what_stands_out_in_a_row_is_taken() -> None:
    base = vector(0, 0, 0, 0)
    assert torch.equal(merged(ArceeFusion(), [vector(0.1, 0.2, -0.3, 1)], base), vector(0, 0, 0, 1))


# A row that moves by a constant keeps its softmax: its divergence is 0, and so are its importances,
# as far as rounding lets them. Importances 0, 0, 0, 0, and in the other row D · (1, 2, 3, 10): of
# eight in order the quartiles are the entries ⌊7/4⌋ = 1, ⌊7/2⌋ = 3, ⌊21/4⌋ = 5: 0, 0, 2D; the
# threshold is 3D, which 3 and 10 reach.
def test_a_row_that_only_shifts_does_not_matter() -> None:
    base = torch.zeros(2, 4)
    other = torch.tensor([[0.5, 0.5, 0.5, 0.5], [0.1, 0.2, -0.31, 1]])
    expected = torch.tensor([[0, 0, 0, 0], [0, 0, -0.31, 1]])
    assert torch.equal(merged(ArceeFusion(), [other], base), expected)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 1000), st.sampled_from([(7, 9), (23,), (3, 4, 5), (1, 1), (5, 1)]))
def test_it_is_the_plain_form(seed: int, shape: tuple[int, ...]) -> None:
    of = family(shape, 1, seed=seed, size=1.0)
    found = merged(ArceeFusion(), of.tuned, of.base)
    taken, doubtful = plain_taken(of)
    expected = torch.where(torch.from_numpy(taken), of.tuned[0], of.base)
    assert torch.equal(found[torch.from_numpy(~doubtful)], expected[torch.from_numpy(~doubtful)])


def plain_taken(of: Family) -> tuple[np.ndarray, np.ndarray]:
    """Which entries are taken, in float64; and which lie so near the threshold that rounding may
    decide."""
    w0, w1 = of.base.double().numpy(), of.tuned[0].double().numpy()
    p, q = (np.exp(w) / np.exp(w).sum(-1, keepdims=True) + 1e-8 for w in (w1, w0))
    importance = np.abs(w1 - w0) * (p * np.log(p / q)).sum(-1, keepdims=True)
    ordered = np.sort(importance.ravel())
    q1, median, q3 = (ordered[i * (len(ordered) - 1) // 4] for i in (1, 2, 3))
    threshold = median + 1.5 * (q3 - q1)
    # a sum of float32 numbers that nearly cancel: good to about 1e-7 of the sum of sizes
    doubt = 1e-6 * np.abs(w1 - w0).max() + 1e-4 * threshold
    return importance >= threshold, np.abs(importance - threshold) < doubt


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 1000))
def test_every_entry_is_one_of_the_two_to_the_bit(seed: int) -> None:
    of = family((7, 9), 1, seed=seed)
    found = merged(ArceeFusion(), of.tuned, of.base)
    assert bool(((found == of.base) | (found == of.tuned[0])).all())


def test_a_model_with_itself_is_that_model() -> None:
    base = family((7, 9), 1).base
    assert torch.equal(merged(ArceeFusion(), [base], base), base)
