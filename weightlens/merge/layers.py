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


def check_stack(made: Mapping[str, TensorInfo], home: Weights, *, rows: bool) -> None:
    """Raises ShapeMismatch where a stack could not be loaded by the config of the model that it is
    copied from, home: other widths, or embeddings with other rows than the output layer.

    Of what differs within home itself nothing is said. rows: whether they stay as they are.
    """
    shapes: dict[str, set[tuple[int, ...]]] = {}
    for name in parameters(home):
        shapes.setdefault(_of_any_layer(name), set()).add(home.infos[name].shape)
    for name, info in made.items():
        skipped = 1 if _is_by_token(name, info) else 0
        known = {shape[skipped:] for shape in shapes.get(_of_any_layer(name), ())}
        if len(known) == 1 and info.shape[skipped:] not in known:
            raise ShapeMismatch(
                f"{name} of the stack has shape {info.shape}, but in {home.label}, whose config it "
                f"gets, such tensors have {next(iter(shapes[_of_any_layer(name)]))}"
            )
    counts = _rows(made)
    if rows and len(counts) > 1 and len(_rows(home.infos)) < 2:
        (first, one), (second, other), *_ = counts.items()
        raise ShapeMismatch(
            f"{one} of the stack has {first} rows and {other} {second}: the first and the last "
            "slice come from models of different vocabularies, or padded otherwise; "
            "tokenizer_source: base (or union) makes them alike"
        )


def _rows(infos: Mapping[str, TensorInfo]) -> dict[int, str]:
    """How many rows there are for tokens, each number with the first tensor that has it."""
    found: dict[int, str] = {}
    for name, info in infos.items():
        if _is_by_token(name, info):
            found.setdefault(info.shape[0], name)
    return found


def _is_by_token(name: str, info: TensorInfo) -> bool:
    return bool(info.shape) and has_row_for_each_token(name)


def _of_any_layer(name: str) -> str:
    """The name of a layer's tensor without the layer's number."""
    at = layered(name)
    return name if at is None else f"{at.before}*{at.after}"
