"""Weights that have not been downloaded: what their headers say, and no bytes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Never

import torch
from jaxtyping import Shaped
from torch import Tensor

from weightlens.checkpoint.config import read_config
from weightlens.checkpoint.layout import DTYPES, TensorInfo
from weightlens.checkpoint.names import with_prefix
from weightlens.checkpoint.read import StoredWeights
from weightlens.errors import CheckpointError, UnsupportedTensor

RemoteTensors = Mapping[str, tuple[str, tuple[int, ...], str]]
"""By name, in the checkpoint's order: safetensors' name of the dtype, shape, and file."""


class RemoteWeights(StoredWeights):
    """Names, shapes and dtypes as `FolderWeights` will have them once the files are here."""

    def __init__(
        self,
        folder: Path,
        tensors: RemoteTensors,
        *,
        label: str,
        read_as: torch.dtype | None = None,
    ) -> None:
        """folder: where config.json lies, and the weights will. Raises UnsupportedTensor for
        dtypes that cannot be read and weights in a packed form, CheckpointError for shapes that
        are none and for a damaged config.json."""
        self.folder, config = folder, read_config(folder)
        saved = {}
        for name, (dtype, shape, file) in with_prefix(tensors, config).items():
            if dtype not in DTYPES:
                raise UnsupportedTensor(
                    f"{label}: {name} in {file} has dtype {dtype}, which cannot be read here"
                )
            if min(shape, default=0) < 0:
                raise CheckpointError(f"{label}: {name} in {file}: shape {list(shape)} is damaged")
            saved[name] = TensorInfo(shape, DTYPES[dtype])
        super().__init__(saved, label, config=config, read_as=read_as)

    def _saved(self, name: str) -> Shaped[Tensor, "..."]:
        self._refuse(name)

    def _saved_block(self, name: str, start: int, stop: int) -> Shaped[Tensor, "block"]:
        self._refuse(name)

    def _refuse(self, name: str) -> Never:
        raise CheckpointError(
            f"{self.label}: {name} is not on this machine, only its header was read; download the "
            "model first"
        )
