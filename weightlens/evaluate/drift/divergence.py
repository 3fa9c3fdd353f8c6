"""What two sets of logits say about the same text, position by position, in nats.

    token_nll      -log q(x)                        the surprise at the token that came
    kl_divergence  sum_v p(v) (log p(v) - log q(v))  how far q is from p over all that could come

Kullback & Leibler 1951, Ann. Math. Stat. 22:79. In float64, a few positions at a time: the KL of a
model that has hardly moved is lost in the rounding of float32, and the softmax of 2,000 positions
over 150,000 tokens would take 2.4 GB.
"""

from collections.abc import Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor

ENTRIES = 2**17
"""Logits that are worked on at a time: what fits a processor's cache in float64, three times as
fast as 2**21 of them. One row at least."""

ENTRIES_ON_GPU = 2**24
"""There a launch costs more than memory."""


def token_nll(
    logits: Float[Tensor, "positions vocab"], targets: Int[Tensor, " positions"]
) -> Float[Tensor, " positions"]:
    """Negative log-likelihood of the target at every position, in float64 on the logits' device
    (float32 on Apple's GPUs, which have no float64). Infinite where its logit is -inf."""
    parts = [
        torch.logsumexp(exact, dim=-1) - exact.gather(-1, targets[rows, None]).squeeze(-1)
        for rows in _blocks(logits)
        for exact in [_exact(logits[rows])]
    ]
    return torch.cat(parts) if parts else _exact(logits[:, 0])


def kl_divergence(
    base_logits: Float[Tensor, "positions vocab"], logits: Float[Tensor, "positions vocab"]
) -> Float[Tensor, " positions"]:
    """KL(base || model) at every position: 0 or more, and exactly 0 for equal logits.

    In float64 on the base's device, as `token_nll`. Infinite where the model rules out a token
    that the base does not.
    """
    parts = [_kl(base_logits[rows], logits[rows]) for rows in _blocks(base_logits)]
    return torch.cat(parts) if parts else _exact(base_logits[:, 0])


def _kl(base_logits: Tensor, logits: Tensor) -> Tensor:
    log_p = torch.log_softmax(_exact(base_logits), dim=-1)
    log_q = torch.log_softmax(_exact(logits.to(base_logits.device)), dim=-1)
    p, q = log_p.exp(), log_q.exp()
    # p log p/q - p + q is never negative and sums to the same, so that nothing cancels between
    # entries; where the base rules a token out, 0 log 0 is 0. In place: this is most of the time
    weighted = log_p.sub_(log_q).mul_(p).masked_fill_(p == 0, 0.0)
    return weighted.sub_(p).add_(q).sum(dim=-1).clamp(min=0)


def _blocks(logits: Tensor) -> Iterator[slice]:
    positions, vocab = logits.shape
    entries = ENTRIES if logits.device.type == "cpu" else ENTRIES_ON_GPU
    rows = max(1, entries // max(1, vocab))
    return (slice(start, start + rows) for start in range(0, positions, rows))


def _exact(logits: Tensor) -> Tensor:
    return logits.float() if logits.device.type == "mps" else logits.double()
