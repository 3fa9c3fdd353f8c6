"""Whether sources hold the same tensors: what one has and the output does not would be lost."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import torch

from weightlens.checkpoint.names import TIED, is_computed, layered, tied_to
from weightlens.checkpoint.remote import RemoteWeights
from weightlens.checkpoint.weights import Weights
from weightlens.errors import TensorMissing

_BLOCK = 1 << 20
"""Entries that are compared at a time."""


@dataclass(frozen=True)
class Side:
    """A source's weights, and what the recipe calls it."""

    label: str
    weights: Weights

    def outside(self) -> list[str]:
        """Names of the tensors outside the stacks of layers."""
        return [name for name in parameters(self.weights) if layered(name) is None]

    def parts(self) -> list[str]:
        """Names within a layer of what any layer has."""
        found = (layered(name) for name in parameters(self.weights))
        return list(dict.fromkeys(at.after.removeprefix(".") for at in found if at is not None))


def parameters(weights: Weights) -> list[str]:
    """Names of all tensors but those that models compute by themselves."""
    return [name for name, info in weights.infos.items() if not is_computed(name, info.shape)]


def check_whole(lead: Side, source: Side) -> None:
    """Raises TensorMissing where a source has tensors that the lead lacks: the base, or the first
    source. Says nothing of what the source lacks: jobs do."""
    _check_held(parameters(source.weights), source, lead, parameters(lead.weights))


def check_outside(lead: Side, source: Side) -> None:
    """The same for tensors outside the layers."""
    _check_held(source.outside(), source, lead, lead.outside())


def check_parts(first: Side, other: Side) -> None:
    """Raises TensorMissing where the layers of two models that are stacked, or merged layer by
    layer, have different tensors in all."""
    _check_held(first.parts(), first, other, other.parts())
    _check_held(other.parts(), other, first, first.parts())


def _check_held(names: Iterable[str], having: Side, lacking: Side, held: Iterable[str]) -> None:
    known = {*held, *TIED}
    for name in names:
        if name not in known:
            raise TensorMissing(f"{name} is in {having.label} but not in {lacking.label}")


def own_heads(lead: Weights, others: Iterable[Weights]) -> list[str]:
    """The output layers that the lead ties to its embeddings and one of the others has apart from
    them: a merge has them apart too."""
    return [
        head
        for head, embeddings in TIED.items()
        if head not in lead.infos and any(embedding in lead.infos for embedding in embeddings)
        if any(has_own(head, other) for other in others)
    ]


def has_own(head: str, weights: Weights) -> bool:
    """Whether an output layer is there and differs from the embeddings. Reads both as far as they
    are equal; what is still on the Hub counts as equal."""
    if head not in weights.infos or isinstance(weights, RemoteWeights):
        return False
    embedding, info = tied_to(head, weights.infos), weights.infos[head]
    if embedding is None or weights.infos[embedding].shape != info.shape:
        return True
    stops = [min(start + _BLOCK, info.entries) for start in range(0, info.entries, _BLOCK)]
    return not all(
        torch.equal(*(weights.stored_block(name, start, stop) for name in (head, embedding)))
        for start, stop in pairwise([0, *stops])
    )
