"""Which tensors are matrices to measure and to strip."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from weightlens.checkpoint.layout import TensorInfo
from weightlens.checkpoint.names import place_of, role_of


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
        if name.endswith((".bias", "_bias")) or "norm" in place_of(name).module.rsplit(".", 1)[-1]:
            return "norm or bias"
        return None if role_of(name) is None else "embedding"

    def matrices(self, infos: dict[str, TensorInfo]) -> Iterator[str]:
        """The names to measure, in order."""
        return (name for name, info in infos.items() if self.reason_to_skip(name, info) is None)
