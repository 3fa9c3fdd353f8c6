"""The leading singular triplets alone: for a few vectors much cheaper than all of them.

1. The Gram matrix G₃₂ of the short side, in float32.
2. Its leading k eigenvectors by block Lanczos with full reorthogonalisation and thick restarts
   (Golub & Underwood 1977; Wu & Simon 2000).
3. Rayleigh–Ritz in float64 on W itself: Z = Wᵀ Û, H = ZᵀZ, R = W Z − Û H. What float32 has spoilt
   shows in R; the long side's vectors Z Σ⁻¹ fall out.
4. That no eigenvalue was missed: μI − (G₃₂ − Û Θ Ûᵀ) has a Cholesky factorisation, so that
   σ_{k+1}² ≤ μ + ‖G − G₃₂‖ (Weyl). The last norm is bounded by probing it with Gaussian vectors;
   the bound fails with a probability of 1e-8 (Halko, Martinsson & Tropp 2011, lemma 4.1).

The angle bound is ‖R‖₂ / (σ_k² − that) (Davis & Kahan 1970). Where it is not below 1e-3, the exact
path takes over, and the factorisation says `fallback`.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from weightlens.spectral.basis import Factorisation, factorise
from weightlens.spectral.gram import add_triangle, panels, short_gram, wide
from weightlens.spectral.lanczos import lanczos

ANGLE_BOUND = 1e-3
"""The largest angle bound with which the partial path's result is taken."""

SMALLEST_SIDE, LARGEST_SHARE = 512, 1 / 8
"""Below this side, or above this share of it in vectors, all eigenvectors cost no more."""

_PROBES = 8
_CHOLESKY_LEAF = 192  # rows from which LAPACK's own factorisation is as fast
_ROWS = 384  # rows that are widened at a time: fresh memory takes longer than the product
_WIDTH = 256  # columns of a panel that is used twice and should still be in the cache then

_SMALLEST = 1e-24
"""Largest squared norm of a row below which, and over whose inverse, float32 is not to be used."""


def worthwhile(d: int, k: int) -> bool:
    """Whether the partial path is cheaper for k of d = min(m, n) vectors."""
    return d >= SMALLEST_SIDE and k <= LARGEST_SHARE * d


def factorise_leading(matrix: Float[Tensor, "m n"], k: int) -> Factorisation:
    """The leading k triplets, certified to an angle of 1e-3; all of them where that fails.

    Raises ValueError for a k outside 1 … min(m, n).
    """
    d = min(matrix.shape)
    if not 1 <= k <= d:
        raise ValueError(f"rank {k} exceeds min(m, n) = {d}")
    if worthwhile(d, k):
        found = _leading(matrix, k)
        if found is not None and found.certificate(k)[1] < ANGLE_BOUND:
            return found
        return factorise(matrix, path="fallback")
    return factorise(matrix)


def _leading(matrix: Float[Tensor, "m n"], k: int) -> Factorisation | None:
    """The leading k, certified or not; None where an eigenvalue seems to be missing, or where
    float32 cannot hold the Gram matrix."""
    gram = short_gram(matrix, dtype=torch.float32)
    if not _SMALLEST < float(gram.diagonal().max()) < 1 / _SMALLEST:
        return None  # squares that float32 does not hold, and what is made of them
    found = lanczos(gram, k)
    generator = torch.Generator().manual_seed(0)
    probes = torch.randn(len(gram), _PROBES, generator=generator, dtype=torch.float64).to(gram)
    # a step in float64 damps what float32 has put into the vectors: it lies where σ is small
    step = torch.cat([rows.double() @ found.vectors.double() for rows in gram.split(_ROWS)])
    vectors = torch.linalg.qr(step)[0]
    through, back = _twice(wide(matrix), torch.cat([vectors, probes.double()], dim=1))
    rotation, values = _ritz(through[:, :k])
    vectors, long = vectors @ rotation, (through[:, :k] @ rotation).div_(values.sqrt())
    off = (back[:, :k] @ rotation).addcmul_(vectors, values, value=-1)
    residual = torch.linalg.eigvalsh(off.T @ off)[-1].clamp(min=0).sqrt()
    noise = torch.linalg.vector_norm(back[:, k:] - (probes.T @ gram).T.double(), dim=0).max()
    squared_norm = float(gram.diagonal().double().sum())
    after = float(found.values[k])
    limit = after + 0.1 * float(values[-1] - after)
    if values[-1] <= after or not _all_below(gram, vectors.float(), values.float(), limit):
        return None
    # Halko et al.: ‖E‖ ≤ 10 √(2/π) max ‖E ω‖ but for a probability of 10^-probes
    doubt = limit - after + 10 * math.sqrt(2 / math.pi) * float(noise)
    return Factorisation(
        matrix=matrix,
        sigma_squared=values,
        vectors=vectors,
        squared_norm=squared_norm,
        residuals=residual.expand(k),
        path="partial",
        beyond=after,
        beyond_error=doubt,
        long=long,
    )


def _twice(
    short: Float[Tensor, "d e"], vectors: Float[Tensor, "d k"]
) -> tuple[Float[Tensor, "e k"], Float[Tensor, "d k"]]:
    """Wᵀ X and W Wᵀ X in float64, in one pass over W."""
    through = vectors.new_empty(short.shape[1], vectors.shape[1])
    back = torch.zeros_like(vectors)
    start = 0
    for panel in panels(short, width=_WIDTH):
        part = torch.mm(panel.T, vectors, out=through[start : start + panel.shape[1]])
        back.addmm_(panel, part)
        start += panel.shape[1]
    return through, back


def _ritz(through: Float[Tensor, "e k"]) -> tuple[Float[Tensor, "k k"], Float[Tensor, "k"]]:
    values, rotation = torch.linalg.eigh(through.T @ through)
    return rotation.flip(1), values.clamp(min=0).flip(0)


def _all_below(
    gram: Float[Tensor, "d d"],
    vectors: Float[Tensor, "d k"],
    values: Float[Tensor, "k"],
    limit: float,
) -> bool:
    """Whether G₃₂ − Û Θ Ûᵀ has no eigenvalue above the limit: the limit minus it is positive, and
    takes the place of G₃₂."""
    shifted = gram.neg_()
    add_triangle(shifted, vectors * values.sqrt())
    shifted.diagonal().add_(limit)
    return _positive(shifted)


def _positive(symmetric: Float[Tensor, "d d"]) -> bool:
    """Whether a symmetric matrix has a Cholesky factorisation, which takes its place below the
    diagonal.

    By halves: torch clears a triangle afterwards, which takes longer than factorising a large one.
    """
    half = len(symmetric) // 2
    if half < _CHOLESKY_LEAF:
        factor, failed = torch.linalg.cholesky_ex(symmetric)
        symmetric.copy_(factor)
        return not int(failed)
    first, below, rest = symmetric[:half, :half], symmetric[half:, :half], symmetric[half:, half:]
    if not _positive(first):
        return False
    below.copy_(torch.linalg.solve_triangular(first.mT, below, upper=True, left=False))
    add_triangle(rest, below, alpha=-1)
    return _positive(rest)
