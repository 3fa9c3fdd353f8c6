"""A PEFT LoRA folder as factored deltas.

PEFT stores, for each adapted module, lora_A (r x in) and lora_B (out x r), and means the delta
scale * B @ A with scale = alpha / r, or alpha / sqrt(r) under rsLoRA (Hu et al. 2021,
arXiv:2106.09685; Kalajdzievski 2023, arXiv:2312.03732). Names in the file begin with
`base_model.model.`; without it they are those of the base's modules.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from weightlens.checkpoint.layout import TensorInfo, read_header
from weightlens.checkpoint.lora_settings import read_settings
from weightlens.checkpoint.names import TIED, tied_to
from weightlens.checkpoint.pickled import PickledWeights, read_pickle
from weightlens.checkpoint.read import FolderWeights
from weightlens.checkpoint.weight_files import (
    ADAPTER_CONFIG,
    ADAPTER_FILE,
    PICKLED_ADAPTER,
    is_pickled_adapter,
)
from weightlens.checkpoint.weights import Weights
from weightlens.delta import Factored
from weightlens.errors import AdapterMismatch, CheckpointError, UnsupportedTensor

CONFIG_FILE = ADAPTER_CONFIG
WEIGHTS_FILE = ADAPTER_FILE

_BLOCK = 1 << 22
"""Entries that are compared at a time."""

_PREFIX = "base_model.model."
_FACTOR = re.compile(r"^(?P<module>.+)\.lora_(?P<embedding>embedding_)?(?P<side>[AB])(\.weight)?$")


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds a PEFT adapter."""
    return (folder / CONFIG_FILE).is_file()


class Adapter:
    """Factored deltas by the name of the base tensor that they change.

    replaced: whole tensors that take the base's place (`modules_to_save`, trained biases); a
    factored delta of the same name goes on top of them.
    """

    def __init__(self, folder: Path, weights: Weights | None = None) -> None:
        """weights: those of the factors, unless they are the folder's own.

        Raises CheckpointError for a damaged folder, UnsupportedTensor for what is not LoRA,
        AdapterMismatch for factors that do not fit each other."""
        self.folder = folder
        self.settings = read_settings(folder / CONFIG_FILE)
        self._weights = _open_factors(folder) if weights is None else weights
        self._factors: dict[str, dict[str, str]] = {}
        self._magnitudes: dict[str, str] = {}
        self.replaced: dict[str, str] = {}
        for stored in self._weights.infos:
            self._sort_in(stored)
        for name, sides in self._factors.items():
            self._check_pair(name, sides)
        if alone := self._magnitudes.keys() - self._factors.keys():
            raise CheckpointError(f"{folder}: {min(alone)} has a magnitude but no factors")

    def _sort_in(self, stored: str) -> None:
        # PEFT says base_layer where it saves the weight below an adapter as well
        name = stored.removeprefix(_PREFIX).replace(".base_layer.", ".")
        module, is_magnitude, _ = name.partition(".lora_magnitude_vector")
        if is_magnitude:
            self._magnitudes[f"{module}.weight"] = stored
        elif found := _FACTOR.match(name):
            tensor = f"{found['module']}.weight"
            self._factors.setdefault(tensor, {})[found["side"]] = stored
        elif ".lora_" in name:
            raise UnsupportedTensor(f"{self.folder}: {stored} is no LoRA factor known here")
        else:
            self.replaced[name.replace(".modules_to_save.", ".")] = stored

    def _check_pair(self, name: str, sides: Mapping[str, str]) -> None:
        """Whether there are two factors, and B A and the magnitudes can be computed."""
        if set(sides) != {"A", "B"}:
            raise CheckpointError(
                f"{self.folder}: {name} has lora_{min(sides)} but not its partner"
            )
        infos, magnitude = self._weights.infos, self._magnitudes.get(name)
        if magnitude is not None and self.is_embedding(name):
            raise UnsupportedTensor(f"{self.folder}: DoRA on embeddings ({name}) is not understood")
        a, b = (infos[sides[side]].shape for side in "AB")
        if len(a) > 2 and len(b) > 2:
            raise UnsupportedTensor(f"{self.folder}: {name} is a convolution; only LoRA of "
                                    "matrices is understood")  # fmt: skip
        if len(a) != 2 or len(b) != 2 or a[0] != b[1] or 0 in (*a, *b):
            raise AdapterMismatch(
                f"{self.folder}: factors of {name} do not fit each other: A is {_times(a)}, "
                f"B is {_times(b)}; they are r x inputs and outputs x r"
            )
        if magnitude is not None and infos[magnitude].entries != b[0]:
            raise AdapterMismatch(
                f"{self.folder}: {name} has {b[0]} outputs but {infos[magnitude].entries} "
                "magnitudes"
            )

    @property
    def names(self) -> list[str]:
        """Names of the base tensors that the adapter changes by factors."""
        return list(self._factors)

    def factored(self, name: str) -> Factored:
        """The delta of one base tensor, oriented like it. Raises KeyError for an unknown name."""
        sides = self._factors[name]
        a, b = self._weights.read(sides["A"]), self._weights.read(sides["B"])
        module = name.removesuffix(".weight")
        scale = self.settings.scale(module, a.shape[0])
        if self._is_turned(name):
            return Factored(a.T.contiguous(), b.T.contiguous(), scale)
        return Factored(b, a, scale)

    def rank(self, name: str) -> int:
        """The number of columns of its B, from headers alone."""
        return self._weights.infos[self._factors[name]["A"]].shape[0]

    def nbytes(self, name: str) -> int:
        """Size of both factors of a tensor."""
        return sum(self._weights.infos[stored].nbytes for stored in self._factors[name].values())

    def is_embedding(self, name: str) -> bool:
        """Whether a factored delta is one of a table of embeddings, which PEFT treats apart."""
        return "lora_embedding_" in self._factors[name]["A"]

    def _is_turned(self, name: str) -> bool:
        # PEFT keeps the factors of an embedding as those of its transpose, A: r x vocabulary
        return self.settings.transposed or self.is_embedding(name)

    def is_dora(self, name: str) -> bool:
        """Whether a tensor's columns are rescaled as well, so that its delta is not low-rank."""
        return name in self._magnitudes

    def applied(self, name: str, weight: Float[Tensor, "m n"]) -> Float[Tensor, "m n"]:
        """The weight with the adapter on top: W + sBA, or under DoRA each row of it scaled to its
        magnitude, mag · (W + sBA) / ‖W + sBA‖_row (Liu et al. 2024, arXiv:2402.09353, section 4;
        rows are outputs here, the paper's columns)."""
        moved = weight + self.factored(name).dense()
        if not self.is_dora(name):
            return moved
        magnitude = self._weights.read(self._magnitudes[name]).flatten()
        along = 0 if self.settings.transposed else 1
        norms = torch.linalg.vector_norm(moved, dim=along, dtype=torch.float64)
        return moved * (magnitude / norms).float().unsqueeze(along)

    def shape(self, name: str) -> tuple[int, int]:
        """Shape of a factored delta, from headers alone."""
        sides = self._factors[name]
        inputs = self._weights.infos[sides["A"]].shape[-1]
        outputs = self._weights.infos[sides["B"]].shape[0]
        return (inputs, outputs) if self._is_turned(name) else (outputs, inputs)

    def replacement(self, name: str) -> Float[Tensor, "..."]:
        """A whole tensor that takes the place of the base's, float32."""
        return self._weights.read(self.replaced[name])

    def copies(self, name: str, base: Weights) -> bool:
        """Whether a whole tensor is but the base's own, which PEFT saves beside the factors of
        embeddings."""
        stored, entries = self.replaced[name], self.replacement_info(name).entries
        return all(
            torch.equal(
                self._weights.read_block(stored, start, min(start + _BLOCK, entries)),
                base.read_block(name, start, min(start + _BLOCK, entries)),
            )
            for start in range(0, entries, _BLOCK)
        )

    def replacement_info(self, name: str) -> TensorInfo:
        """Its shape and dtype."""
        return self._weights.infos[self.replaced[name]]

    def check_fits(self, base: Weights) -> None:
        """Raises AdapterMismatch where a module is not in the base or its shape differs."""
        made_for = f" (it was made for {self.settings.base})" if self.settings.base else ""
        shapes: dict[str, tuple[int, ...]] = {n: self.shape(n) for n in self._factors}
        shapes |= {name: self.replacement_info(name).shape for name in self.replaced}
        for head in TIED:
            embedding = tied_to(head, base.infos) or "its embeddings"
            if head not in base.infos and (embedding in self.replaced or head in shapes):
                raise AdapterMismatch(
                    f"{self.folder}: changes {head if head in shapes else embedding}, but "
                    f"{base.label} ties {head} to {embedding} and the adapter unties them; merge "
                    "it into its base with PEFT and give the result as a full model"
                )
        for name, shape in shapes.items():
            info = base.infos.get(name)
            if info is None:
                raise AdapterMismatch(
                    f"{self.folder}: changes {name}, which {base.label} does not have{made_for}"
                )
            if info.shape != shape:
                raise AdapterMismatch(
                    f"{self.folder}: changes {name} as {_times(shape)}, but it is "
                    f"{_times(info.shape)} in {base.label}{made_for}"
                )


def _open_factors(folder: Path) -> Weights:
    if (folder / WEIGHTS_FILE).is_file():
        return FolderWeights(folder, read_header(folder / WEIGHTS_FILE))
    if is_pickled_adapter(folder):
        return PickledWeights(folder, read_pickle(folder / PICKLED_ADAPTER))
    raise CheckpointError(f"{folder}: {WEIGHTS_FILE} is missing")


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "a number"
