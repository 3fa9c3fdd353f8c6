"""Which tensor of a fine-tune goes where in an adapter, from names, shapes and configuration alone.

factors    matrices of linear layers, and embeddings where `include` asks for them
whole      the other weights and biases of modules, with `save_rest`
left out   what an adapter has no place for, and what the user does not want
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from weightlens.checkpoint.adapter_names import (
    check_factored,
    ends_of_others,
    is_bare,
    is_embedding,
    module_of,
)
from weightlens.checkpoint.layout import TensorInfo
from weightlens.checkpoint.model import Model
from weightlens.checkpoint.names import are_tied, is_computed, is_head, role_of
from weightlens.checkpoint.selection import Selection
from weightlens.checkpoint.weights import Weights
from weightlens.errors import InputError
from weightlens.spectral.lowrank import Truncation

_AMBIGUOUS = "ambiguous: PEFT would save every module whose name ends like its module's"
_BARE = re.compile(r"(layers|h|blocks?|layer)\.\d+\.")


@dataclass(frozen=True)
class ExtractPlan:
    """Names of floating-point tensors that may differ, in the checkpoint's order.

    left_out: the reason by name. siblings: every tensor of the modules that may be saved whole.
    """

    matrices: tuple[str, ...]
    whole: tuple[str, ...]
    left_out: Mapping[str, str]
    siblings: Mapping[str, tuple[str, ...]]
    warnings: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """All of them."""
        return (*self.matrices, *self.whole, *self.left_out)

    @property
    def may_be_whole(self) -> tuple[str, ...]:
        """What the adapter may hold whole: a module is saved with all of its tensors."""
        return tuple(name for names in self.siblings.values() for name in names)


def make_extract_plan(
    base: Weights, tuned: Model, *, size: Truncation, selection: Selection, save_rest: bool
) -> ExtractPlan:
    """Sorts the tensors; no weight is read.

    Raises what `Model.check_against` raises, InputError where no matrix is left or where one is
    smaller than the rank asked for, UnsupportedTensor where one adapter cannot have them all.
    """
    every = {**base.infos, **tuned.infos(base)}
    infos = {name: info for name, info in every.items() if not is_computed(name, info.shape)}
    excluded = {name for name in infos if not _wanted(name, selection)}
    tuned.check_against(base, vocabulary=excluded)
    ties, ambiguous = _ties(base, infos), ends_of_others({module_of(name) for name in infos})
    reasons: dict[str, str | None] = {}
    matrices = []
    for name, info in infos.items():
        if not (info.dtype.is_floating_point and info.entries and _may_differ(name, base, tuned)):
            continue
        reason = _left_out(name, info, ties, selection)
        if reason is None and _is_matrix(name, info, selection):
            matrices.append(name)
        elif reason is None and save_rest:
            reasons[name] = _AMBIGUOUS if module_of(name) in ambiguous else None
        else:
            reasons[name] = reason or _kind(name, info)
    whole = tuple(name for name, reason in reasons.items() if reason is None)
    _check_matrices(matrices, infos, base, size)
    return ExtractPlan(
        matrices=tuple(matrices),
        whole=whole,
        left_out={name: reason for name, reason in reasons.items() if reason is not None},
        siblings=_siblings(whole, infos),
        warnings=_warnings(matrices),
    )


def _may_differ(name: str, base: Weights, tuned: Model) -> bool:
    """False for what adapters on the base itself do not touch."""
    shares = tuned.weights is None or tuned.weights is base
    return not shares or tuned.adapters.touches(name)


def _wanted(name: str, selection: Selection) -> bool:
    """Whether the user's expressions leave a tensor in."""
    if selection.exclude is not None and re.search(selection.exclude, name):
        return False
    return selection.include is None or re.search(selection.include, name) is not None


def _is_matrix(name: str, info: TensorInfo, selection: Selection) -> bool:
    if selection.reason_to_skip(name, info) is not None:
        return False
    return selection.include is not None or not is_embedding(name)


def _left_out(
    name: str, info: TensorInfo, ties: frozenset[str], selection: Selection
) -> str | None:
    """Why an adapter cannot, or is not to, hold a tensor in any form; None where it can."""
    if not _wanted(name, selection):
        return "excluded" if selection.include is None else "not included"
    if name in ties:
        return "tied: an adapter would untie input and output embeddings"
    if len(info.shape) == 3 and min(info.shape[1:]) > 1:
        return "stack of experts: LoRA has no plain form for it"
    if is_bare(name):
        return "bare parameter: no module's weight or bias"
    return None


def _kind(name: str, info: TensorInfo) -> str:
    """What a tensor is that is no matrix of a linear layer."""
    if name.endswith(".bias"):
        return "bias"
    if is_embedding(name):
        return "embedding"
    if is_head(name):
        return "output layer"
    return "norm" if len(info.shape) == 1 else "no linear layer"


def _ties(base: Weights, infos: Mapping[str, TensorInfo]) -> frozenset[str]:
    """The embeddings that input and output of the model share, as far as one can tell."""
    if not are_tied(base.config, base.infos):
        return frozenset()
    heads = {name for name in infos if is_head(name)}
    inputs = {name for name in infos if is_embedding(name) and role_of(name) == "tokens"}
    return frozenset(inputs | heads)


def _siblings(
    whole: tuple[str, ...], infos: Mapping[str, TensorInfo]
) -> dict[str, tuple[str, ...]]:
    modules = {module_of(name) for name in whole}
    found: dict[str, tuple[str, ...]] = {}
    for name, info in infos.items():
        if info.dtype.is_floating_point and (module := module_of(name)) in modules:
            found[module] = (*found.get(module, ()), name)
    return found


def _check_matrices(
    matrices: list[str], infos: Mapping[str, TensorInfo], base: Weights, size: Truncation
) -> None:
    if not matrices:
        raise InputError(
            f"{base.label}: no matrix of a linear layer left to extract; check --include and "
            "--exclude"
        )
    check_factored(matrices, base.transposed, [name for name in matrices if is_embedding(name)])
    for name in matrices:
        shape = infos[name].shape
        if size.by == "rank" and size.value is not None and size.value > min(shape):
            raise InputError(
                f"{name} is {' x '.join(map(str, shape))}, so its rank is at most {min(shape)}, "
                f"not {size.value}; ask for less, or --exclude it"
            )


def _warnings(matrices: list[str]) -> tuple[str, ...]:
    bare = [name for name in matrices if _BARE.match(name)]
    if not bare:
        return ()
    return (
        f"{bare[0]} has no prefix: this is a checkpoint of a model without its head, and PEFT "
        "finds these modules in AutoModel, not in AutoModelForCausalLM",
    )
