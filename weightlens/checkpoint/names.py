"""What a tensor's name says: layer, module, expert; and which tensors are matrices to measure."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from weightlens.checkpoint.layout import TensorInfo

_LAYER = re.compile(
    r"^(?:(?P<stack>.+?)\.)?(?:layers|h|blocks?|layer)\.(?P<layer>\d+)\.(?P<rest>.+)$"
)
_ONLY_STACK = {None, "model", "transformer", "gpt_neox", "model.decoder", "model.language_model"}
"""Prefixes of the language model's own layers; any other (a vision tower's) stays in the module."""
_EXPERT = re.compile(r"\bexperts\.(\d+)\.")
_EMBEDDING = re.compile(
    r"(?:^|\.)(embed_tokens|embed_in|embed_out|lm_head|wte|wpe|shared|word_embeddings"
    r"|position_embeddings|token_type_embeddings|embeddings?)(?:\.|$)"
)


@dataclass(frozen=True)
class Place:
    """Where in the model a tensor sits.

    module: the name below the layer without `.weight`, after that of the stack of layers where it
    is not the language model's.
    """

    layer: int | None
    module: str
    expert: int | None


def place_of(name: str) -> Place:
    """Layer, module and expert of a tensor; the layer is None outside the stack of layers."""
    stem = name.removesuffix(".weight")
    found = _LAYER.search(stem)
    layer, module = (int(found["layer"]), found["rest"]) if found else (None, stem)
    if found and found["stack"] not in _ONLY_STACK:
        module = f"{found['stack']}.{module}"
    expert = _EXPERT.search(module)
    return Place(
        layer,
        _EXPERT.sub("experts.", module),
        int(expert[1]) if expert else None,
    )


@dataclass(frozen=True)
class Selection:
    """Which tensors to measure: matrices that are no embeddings, unless `include` asks for more.

    include: a tensor is measured if its name matches (embeddings too); exclude: never if it does.
    """

    include: str | None = None
    exclude: str | None = None

    def reason_to_skip(self, name: str, info: TensorInfo) -> str | None:
        """Why a tensor is not measured; None where it is."""
        if len(info.shape) not in (2, 3) or min(info.shape) == 0:
            return f"not a matrix ({len(info.shape)} dimensions)"
        if not info.dtype.is_floating_point:
            return "integers"
        if len(info.shape) == 3 and min(info.shape[1:]) == 1:
            return "convolution"
        if self.exclude is not None and re.search(self.exclude, name):
            return "excluded"
        if self.include is not None:
            return None if re.search(self.include, name) else "not included"
        if name.endswith(".bias") or "norm" in place_of(name).module.rsplit(".", 1)[-1]:
            return "norm or bias"
        return "embedding" if _EMBEDDING.search(name) else None

    def matrices(self, infos: dict[str, TensorInfo]) -> Iterator[str]:
        """The names to measure, in order."""
        return (name for name, info in infos.items() if self.reason_to_skip(name, info) is None)
