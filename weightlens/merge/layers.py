"""The layers of a model by their numbers, which slices take from, what comes before them, and
whether what is stacked of them goes together."""

from collections.abc import Mapping

from weightlens.checkpoint.layout import TensorInfo
from weightlens.checkpoint.names import Layered, has_row_for_each_token, layered, role_of
from weightlens.checkpoint.weights import Weights
from weightlens.errors import ShapeMismatch
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


def check_stack(made: Mapping[str, TensorInfo], home: Weights) -> None:
    """Raises ShapeMismatch where a stack could not be loaded by the config of the model that it is
    copied from, home: other widths, or embeddings of one vocabulary and an output layer of another.

    Of tensors whose shape changes over home's own layers nothing is said.
    """
    shapes: dict[str, set[tuple[int, ...]]] = {}
    for name in parameters(home):
        shapes.setdefault(_of_any_layer(name), set()).add(home.infos[name].shape)
    rows: dict[int, str] = {}
    for name, info in made.items():
        by_token = bool(info.shape) and has_row_for_each_token(name)
        if by_token:
            rows.setdefault(info.shape[0], name)
        known = {shape[by_token:] for shape in shapes.get(_of_any_layer(name), ())}
        if len(known) == 1 and info.shape[by_token:] not in known:
            raise ShapeMismatch(
                f"{name} of the stack has shape {info.shape}, but in {home.label}, whose config it "
                f"gets, such tensors have {next(iter(shapes[_of_any_layer(name)]))}"
            )
    if len(rows) > 1:
        (first, one), (second, other), *_ = rows.items()
        raise ShapeMismatch(
            f"{one} of the stack has {first} rows and {other} {second}: the first and the last "
            "slice come from models of different vocabularies"
        )


def _of_any_layer(name: str) -> str:
    """The name of a layer's tensor without the layer's number."""
    at = layered(name)
    return name if at is None else f"{at.before}*{at.after}"
