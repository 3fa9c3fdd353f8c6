"""The layers of a model by their numbers, which slices take from, and what comes before them."""

from weightlens.checkpoint.names import Layered, layered, role_of
from weightlens.checkpoint.weights import Weights
from weightlens.merge.agreement import parameters

Layers = dict[int, list[Layered]]
"""The tensors of each layer, by its number."""


def layers_of(weights: Weights) -> Layers:
    """A checkpoint's layers, its tensors in their order."""
    found: Layers = {}
    for name in parameters(weights):
        at = layered(name)
        if at is not None:
            found.setdefault(at.layer, []).append(at)
    return found


def stacks_of(layers: Layers) -> list[str]:
    """What the names of the layers' tensors begin with, in alphabetical order: one for each stack
    of layers."""
    return sorted({at.before for layer in layers.values() for at in layer})


def height(layer: int, layers: int) -> float:
    """How far up the stack a layer is; the only one is at the top, as in mergekit."""
    return layer / (layers - 1) if layers > 1 else 1.0


def is_before(name: str) -> bool:
    """Whether a tensor outside the layers comes before them: embeddings, and what is named so."""
    role, stem = role_of(name), name.rsplit(".", 1)[0].rsplit(".", 1)[-1]
    return role in ("tokens", "table") or (
        role is None and stem.startswith(("embed", "word_embed", "position_embed", "tok_embed"))
    )
