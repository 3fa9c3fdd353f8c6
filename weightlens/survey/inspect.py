"""What a checkpoint holds, from headers and configuration alone: no weights, no torch.

Pickled weights are the exception: torch opens them, through its weights-only reader.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from weightlens.checkpoint.header import DTYPE_BYTES, Entry, read_header, scan_folder
from weightlens.checkpoint.names import are_tied, place_of
from weightlens.checkpoint.weight_files import (
    ADAPTER_FILE,
    PICKLED_ADAPTER,
    is_pickled,
    is_pickled_adapter,
)
from weightlens.errors import CheckpointError, InputError
from weightlens.hub import resolve
from weightlens.record import Record
from weightlens.version import VERSION

if TYPE_CHECKING:
    from weightlens.checkpoint.pickled import PickledTensor


class Group(Record):
    """Tensors of one module over all layers. shape, dtype: None where they differ."""

    module: str
    tensors: int
    parameters: int
    bytes: int
    shape: tuple[int, ...] | None
    dtype: str | None


class TensorSpectrum(Record):
    """One tensor. nan, inf: entries that are; dead_rows: rows of zeros (of a matrix).

    norm and what follows are None where an entry is not finite, the spectrum where it is no matrix
    or all zeros.
    """

    name: str
    nan: int
    inf: int
    dead_rows: int | None
    norm: float | None
    spectral_norm: float | None
    stable_rank: float | None
    effective_rank: float | None


class InspectReport(Record):
    """A checkpoint at a glance. dtypes: parameters by safetensors' names of their dtypes. spectra:
    what `measure_spectra` finds, where it was asked for."""

    schema_: Literal["weightlens.inspect/1"] = Field(default="weightlens.inspect/1", alias="schema")
    weightlens: str
    model: str
    kind: Literal["full", "adapter"]
    architecture: str | None
    files: int
    tensors: int
    parameters: int
    bytes: int
    dtypes: dict[str, int]
    layers: int
    tied_embeddings: bool
    chat_template: bool
    adapter: dict[str, Any] | None
    provenance: dict[str, Any] | None
    groups: list[Group]
    spectra: list[TensorSpectrum] | None = None


@dataclass(frozen=True)
class _Held:
    """A tensor: safetensors' name of its dtype, its shape, and its file."""

    dtype: str
    shape: tuple[int, ...]
    file: Path

    @property
    def entries(self) -> int:
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.entries * DTYPE_BYTES[self.dtype]


_ADAPTER_FIELDS = ("peft_type", "r", "lora_alpha", "use_rslora", "use_dora", "target_modules",
                   "base_model_name_or_path")  # fmt: skip


def inspect_model(reference: str) -> InspectReport:
    """Reads the headers of a model or an adapter, or opens it where it is pickled.

    reference: a folder or a Hub id. Raises ModelNotFound, CheckpointError, InputError for a sum of
    adapters.
    """
    at = resolve(reference)
    *below, folder = at.folders
    if any((other / "adapter_config.json").is_file() for other in below):
        raise InputError(f"{reference}: a sum of adapters; inspect them one at a time")
    adapter = _json(folder / "adapter_config.json")
    entries = _held(folder) if adapter is None else _held_by_adapter(folder)
    config = _json(folder / "config.json") or {}
    layers = {place_of(name).layer for name in entries} - {None}
    tied = adapter is None and are_tied(config, entries)
    return InspectReport(
        weightlens=VERSION,
        model=at.label,
        kind="full" if adapter is None else "adapter",
        architecture=next(iter(config.get("architectures") or []), None),
        files=len({entry.file for entry in entries.values()}),
        tensors=len(entries),
        parameters=sum(entry.entries for entry in entries.values()),
        bytes=sum(entry.nbytes for entry in entries.values()),
        dtypes=_by_dtype(entries),
        layers=len(layers),
        tied_embeddings=tied,
        chat_template=_has_chat_template(folder),
        adapter=None if adapter is None else {k: adapter.get(k) for k in _ADAPTER_FIELDS},
        provenance=_provenance(folder),
        groups=_groups(entries),
    )


def _held(folder: Path) -> dict[str, _Held]:
    if not is_pickled(folder):
        return _in_headers(scan_folder(folder))
    from weightlens.checkpoint.pickled import scan_pickled

    return _in_pickles(scan_pickled(folder))


def _held_by_adapter(folder: Path) -> dict[str, _Held]:
    if (folder / ADAPTER_FILE).is_file():
        return _in_headers(read_header(folder / ADAPTER_FILE))
    if not is_pickled_adapter(folder):
        raise CheckpointError(f"{folder}: {ADAPTER_FILE} is missing")
    from weightlens.checkpoint.pickled import read_pickle

    return _in_pickles(read_pickle(folder / PICKLED_ADAPTER))


def _in_headers(entries: Mapping[str, Entry]) -> dict[str, _Held]:
    return {name: _Held(e.dtype, e.shape, e.file) for name, e in entries.items()}


def _in_pickles(tensors: "Mapping[str, PickledTensor]") -> dict[str, _Held]:
    from weightlens.checkpoint.layout import DTYPE_NAMES

    return {
        name: _Held(DTYPE_NAMES[p.tensor.dtype], tuple(p.tensor.shape), p.file)
        for name, p in tensors.items()
    }


def _groups(entries: Mapping[str, _Held]) -> list[Group]:
    modules: dict[str, list[_Held]] = {}
    for name, entry in entries.items():
        modules.setdefault(place_of(name).module, []).append(entry)
    return [
        Group(
            module=module,
            tensors=len(group),
            parameters=sum(e.entries for e in group),
            bytes=sum(e.nbytes for e in group),
            shape=group[0].shape if len({e.shape for e in group}) == 1 else None,
            dtype=group[0].dtype if len({e.dtype for e in group}) == 1 else None,
        )
        for module, group in modules.items()
    ]


def _by_dtype(entries: Mapping[str, _Held]) -> dict[str, int]:
    dtypes: dict[str, int] = {}
    for entry in entries.values():
        dtypes[entry.dtype] = dtypes.get(entry.dtype, 0) + entry.entries
    return dict(sorted(dtypes.items(), key=lambda item: -item[1]))


def _has_chat_template(folder: Path) -> bool:
    if (folder / "chat_template.jinja").exists():
        return True
    return bool((_json(folder / "tokenizer_config.json") or {}).get("chat_template"))


def _provenance(folder: Path) -> dict[str, Any] | None:
    """How a merge of ours was made, without the records of every matrix and tensor."""
    record = _json(folder / "weightlens.json")
    return None if record is None else _at_a_glance(record)


def _at_a_glance(record: dict[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in record.items() if key not in ("matrices", "checksums")}
    if isinstance(steps := kept.get("steps"), dict):
        kept["steps"] = {n: _at_a_glance(s) for n, s in steps.items() if isinstance(s, dict)}
    return kept


def _json(file: Path) -> dict[str, Any] | None:
    """The mapping in a file; None where there is no file. Raises CheckpointError for no JSON."""
    if not file.is_file():
        return None
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{file}: not valid JSON ({error})") from error
    if not isinstance(data, dict):
        raise CheckpointError(f"{file}: not a mapping")
    return data
