"""The next token of every row: the likeliest, or one drawn.

A draw takes one number between 0 and 1 for each token, from a counter-based generator keyed by the
draw's own seed: it does not depend on the batch, nor on the weights, so two models that are asked
the same are given the same numbers. Tokens are laid out in the order of their ids, not of their
probability: where two models are nearly equal, the same number then mostly means the same token.
"""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from weightlens.evaluate.task import Sampling

_NUCLEUS = 512
"""Likeliest tokens that are looked at before a whole vocabulary is sorted."""
_BLOCK = 256


class Uniforms:
    """The numbers of one draw, in [0, 1), by Philox with the seed for its key."""

    def __init__(self, seed: int) -> None:
        """seed: below 2⁶⁴."""
        self._generator = np.random.Generator(np.random.Philox(key=seed))
        self._numbers: list[float] = []

    def __getitem__(self, step: int) -> float:
        while step >= len(self._numbers):
            self._numbers += self._generator.random(_BLOCK).tolist()
        return self._numbers[step]


def likeliest(logits: Float[Tensor, "rows vocab"]) -> Int[Tensor, "rows"]:
    """The token with the largest logit of every row."""
    return logits.float().argmax(-1)  # on CPUs several times faster than in 16 bits


def drawn(
    logits: Float[Tensor, "rows vocab"], uniforms: Float[Tensor, "rows"], sampling: Sampling
) -> Int[Tensor, "rows"]:
    """Tokens by inverse transform: the first at which the share of its row's nucleus exceeds the
    row's number.

    The nucleus is the smallest set of likeliest tokens that holds `top_p` of the probability
    (Holtzman et al. 2020, arXiv:1904.09751). Raises ValueError for a temperature of 0.
    """
    if sampling.temperature <= 0:
        raise ValueError("a temperature of 0 is greedy: nothing is drawn")
    shares = torch.softmax(logits.float() / sampling.temperature, -1)
    tokens, kept = _nucleus(shares, sampling.top_p)
    below = kept.double().cumsum(-1)
    wanted = uniforms.double().to(below.device)[:, None] * below[:, -1:]
    # right: a token of no probability lies at no number
    places = torch.searchsorted(below, wanted, right=True).clamp(max=below.shape[-1] - 1)
    return tokens.gather(-1, places)[:, 0] if tokens is not None else places[:, 0]


def _nucleus(
    shares: Float[Tensor, "rows vocab"], top_p: float
) -> tuple[Int[Tensor, "rows nucleus"] | None, Float[Tensor, "rows nucleus"]]:
    """Tokens in the order of their ids and their probability, 0 outside of the nucleus; None for
    all tokens."""
    if top_p >= 1:
        return None, shares
    for count in (min(_NUCLEUS, shares.shape[-1]), shares.shape[-1]):
        largest, tokens = shares.topk(count)
        before = largest.double().cumsum(-1) - largest
        if count == shares.shape[-1] or bool((before[:, -1] + largest[:, -1] >= top_p).all()):
            break
    kept = torch.where(before < top_p, largest, 0)
    tokens, order = tokens.sort(-1)
    return tokens, kept.gather(-1, order)
