"""What PEFT calls the parts of an adapter, and what it has no place for: from names alone."""

from collections.abc import Collection
from itertools import pairwise

from weightlens.checkpoint.names import role_of
from weightlens.errors import UnsupportedTensor


def is_embedding(name: str) -> bool:
    """Whether a tensor is a table of embeddings, by its name: PEFT keeps those the other way round.

    The output layer (`lm_head`) is none: it is a linear layer.
    """
    return role_of(name) in ("tokens", "table") and name.endswith(".weight")


def module_of(name: str) -> str:
    """The module that a tensor belongs to: its name without the last part."""
    return name.rpartition(".")[0]


def is_bare(name: str) -> bool:
    """Whether a tensor is no module's weight or bias; PEFT knows modules alone."""
    module, _, last = name.rpartition(".")
    return not module or last not in ("weight", "bias")


def ends_of_others(modules: Collection[str]) -> frozenset[str]:
    """The modules whose names are the ends of others' names: PEFT, asked to save the one whole,
    would save the others too."""
    backwards = sorted(module[::-1] for module in modules)
    return frozenset(one[::-1] for one, after in pairwise(backwards) if after.startswith(one))


def check_factored(
    names: Collection[str], transposed: Collection[str], embeddings: Collection[str]
) -> None:
    """Raises UnsupportedTensor unless one adapter can have factors for all of these tensors.

    transposed: those stored as inputs x outputs; embeddings: those that are tables of them.
    """
    for name in names:
        if not name.endswith(".weight") or name == ".weight":
            raise UnsupportedTensor(
                f"{name}: is no module's weight, so LoRA has no place for it; leave it out"
            )
    layers = [name for name in names if name not in embeddings]
    turned = [name for name in layers if name in transposed]
    plain = [name for name in layers if name not in transposed]
    if turned and plain:
        raise UnsupportedTensor(
            f"{turned[0]} is stored as inputs x outputs and {plain[0]} as outputs x inputs; one "
            "adapter cannot have both: leave the one kind or the other out (--exclude, or weight 0 "
            "for a filter)"
        )
