"""Whether sources hold the same tensors: what one has and the output does not would be lost."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch

from weightlens.checkpoint.names import TIED, is_computed, layered, tied_to
from weightlens.checkpoint.read import Weights
from weightlens.checkpoint.remote import RemoteWeights
from weightlens.errors import TensorMissing


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
    _check_head(lead, source)


def check_outside(lead: Side, source: Side) -> None:
    """The same for tensors outside the layers."""
    _check_held(source.outside(), source, lead, lead.outside())
    _check_head(lead, source)


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


def _check_head(lead: Side, source: Side) -> None:
    """An output layer of its own beside a lead that ties it to the embeddings."""
    theirs = source.weights
    for head in TIED:
        yet_to_come = isinstance(theirs, RemoteWeights)
        if yet_to_come or head not in theirs.infos or head in lead.weights.infos:
            continue
        embedding = tied_to(head, theirs.infos)
        same = embedding is not None and torch.equal(theirs.stored(head), theirs.stored(embedding))
        if not same:
            raise TensorMissing(
                f"{head} of {source.label} differs from its embeddings, but {lead.label} "
                "ties the two: the merge would lose it; use an untied base"
            )
