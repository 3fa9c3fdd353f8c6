"""Pickled checkpoints (pytorch_model.bin), through torch's weights-only reader and nothing else.

A pickle can name any function and have it called. That reader calls none but those that rebuild
tensors and refuses a file that names another. Files of the zip form (torch 1.6 and later) are
mapped: a tensor's bytes are read where they are asked for. Older ones go into memory as a whole.
"""

import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Shaped
from torch import Tensor

from weightlens.checkpoint.config import read_config
from weightlens.checkpoint.header import scan_shards
from weightlens.checkpoint.layout import DTYPE_NAMES, TensorInfo
from weightlens.checkpoint.names import with_prefix
from weightlens.checkpoint.read import StoredWeights
from weightlens.checkpoint.weight_files import PICKLED_FILE, PICKLED_INDEX
from weightlens.errors import CheckpointError, UnsupportedTensor, WeightlensError

_NESTED = ("state_dict", "model")
"""Keys under which trainers keep the parameters, beside other things."""

_CONVERT = (
    "load it with the library that wrote it, if you trust its origin, and save it as safetensors "
    "(save_pretrained(..., safe_serialization=True))"
)
_GLOBAL = re.compile(r"GLOBAL (\S+)")
_REASON = re.compile(r"Unsupported operand \d+|(?:Can only|Only|Trying to call) [^\n]*")


@dataclass(frozen=True)
class PickledTensor:
    """A tensor as it was pickled, mapped where the file can be, and that file."""

    tensor: Tensor
    file: Path


def scan_pickled(folder: Path) -> dict[str, PickledTensor]:
    """Every tensor of a folder with pytorch_model.bin, or its shards and their index.

    Raises what `read_pickle` raises, and CheckpointError for a missing shard, an index that names
    files outside the folder or tensors that are not where it says.
    """
    if (folder / PICKLED_INDEX).is_file():
        return scan_shards(folder / PICKLED_INDEX, read_pickle)
    return read_pickle(folder / PICKLED_FILE)


def read_pickle(file: Path) -> dict[str, PickledTensor]:
    """The tensors of one file by name; they may share memory, and their strides are as pickled.

    Raises UnsupportedTensor for a file that names more than tensors, none of which is called, and
    for tensors in forms not read here; CheckpointError for damage, or where it holds no mapping
    from names to tensors, on its own or under `state_dict` or `model`.
    """
    tensors = _parameters(_loaded(file), file)
    for name, tensor in tensors.items():
        _check_plain(name, tensor, file)
    return {name: PickledTensor(tensor.detach(), file) for name, tensor in tensors.items()}


def _loaded(file: Path) -> object:
    """What torch's weights-only reader makes of a file."""
    try:
        with file.open("rb") as stream:
            zipped = stream.read(4) == b"PK\x03\x04"
        if zipped:
            _check_archive(file)
        with warnings.catch_warnings(action="ignore"):  # errors say it all
            return torch.load(file, weights_only=True, mmap=zipped, map_location="cpu")
    except WeightlensError:
        raise
    except Exception as error:  # a damaged pickle may fail in any way
        raise _refused(file, error) from error


def _check_archive(file: Path) -> None:
    """Raises UnsupportedTensor for TorchScript, CheckpointError for compressed tensors: what is
    mapped would be taken for numbers."""
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
    if any(Path(entry.filename).name == "constants.pkl" for entry in entries):
        raise UnsupportedTensor(f"{file}: is TorchScript, a program; {_CONVERT}")
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise CheckpointError(f"{file}: a compressed zip; torch.save writes it uncompressed")


def _refused(file: Path, error: Exception) -> WeightlensError:
    message = str(error)
    if isinstance(error, pickle.UnpicklingError) and (named := _GLOBAL.search(message)):
        return UnsupportedTensor(
            f"{file}: refused: it names {named[1]}, and weights need no such thing. Nothing in it "
            f"was executed; {_CONVERT}"
        )
    reason = _REASON.search(message) or re.search(r"[^\n]+", message)
    said = reason[0][:200] if reason else type(error).__name__
    return CheckpointError(
        f"{file}: damaged, or no plain pickle of tensors by torch.save ({said}). Nothing in it was "
        f"executed; get it again, or {_CONVERT}"
    )


def _parameters(found: object, file: Path) -> dict[str, Tensor]:
    """The mapping from names to tensors in what was unpickled."""
    tensors = _as_tensors(found)
    if tensors is None and isinstance(found, Mapping):
        inner = [held for key in _NESTED if (held := _as_tensors(found.get(key))) is not None]
        tensors = inner[0] if len(inner) == 1 else None
    if tensors is None:
        raise CheckpointError(
            f"{file}: holds {_described(found)}, not a mapping from names to tensors, on its own "
            f"or under one of {', '.join(_NESTED)}; save the model's state_dict() alone"
        )
    return tensors


def _as_tensors(found: object) -> dict[str, Tensor] | None:
    """The mapping from names to tensors that this is; None where it is none."""
    if not isinstance(found, Mapping) or not found:
        return None
    plain = all(isinstance(k, str) and isinstance(v, Tensor) for k, v in found.items())
    return dict(found) if plain else None


def _described(found: object) -> str:
    if not isinstance(found, Mapping):
        return f"a {type(found).__name__}"
    held = [f"{k!r} ({type(v).__name__})" for k, v in found.items() if not isinstance(v, Tensor)]
    more = f" and {len(held) - 3} more" if len(held) > 3 else ""
    beside = " beside tensors" if len(held) < len(found) else ""
    return f"{', '.join(held[:3])}{more}{beside}" if held else "a mapping without tensor names"


def _check_plain(name: str, tensor: Tensor, file: Path) -> None:
    """Raises UnsupportedTensor for what is not strided numbers of a dtype that safetensors has,
    CheckpointError for more of them than the file can hold."""
    if type(tensor) not in (Tensor, torch.nn.Parameter):
        form = f"a {type(tensor).__name__}"
    elif tensor.layout is not torch.strided:
        form = f"stored as {str(tensor.layout).removeprefix('torch.')}"
    elif tensor.dtype not in DTYPE_NAMES:
        form = f"{tensor.dtype}"
    elif tensor.device.type != "cpu":
        form = f"on {tensor.device}, without values"
    else:
        # strides of 0 can make of one number any shape
        if tensor.nbytes > file.stat().st_size:
            raise CheckpointError(f"{file}: {name} is {list(tensor.shape)} of {tensor.dtype}, "
                                  "more than the file holds")  # fmt: skip
        return
    raise UnsupportedTensor(f"{file}: {name} is {form}, which cannot be read here; {_CONVERT}")


class PickledWeights(StoredWeights):
    """Weights out of pickles; what is not asked for stays on disk."""

    def __init__(
        self,
        folder: Path,
        tensors: Mapping[str, PickledTensor] | None = None,
        *,
        read_as: torch.dtype | None = None,
    ) -> None:
        """tensors: those of `scan_pickled` unless given. Raises what that raises; CheckpointError
        for a damaged config.json, UnsupportedTensor for weights in a packed form."""
        self.folder, config = folder, read_config(folder)
        pickled = with_prefix(scan_pickled(folder) if tensors is None else tensors, config)
        self._tensors = {name: held.tensor for name, held in pickled.items()}
        saved = {n: TensorInfo(tuple(t.shape), t.dtype) for n, t in self._tensors.items()}
        super().__init__(saved, str(folder), config=config, read_as=read_as)

    def _saved(self, name: str) -> Shaped[Tensor, "..."]:
        # a copy: a caller that changed the mapping would change tied tensors too
        return self._tensors[name].clone(memory_format=torch.contiguous_format)

    def _saved_block(self, name: str, start: int, stop: int) -> Shaped[Tensor, "block"]:
        tensor = self._tensors[name]
        if tensor.is_contiguous():
            return tensor.view(-1)[start:stop].clone()
        return tensor[torch.unravel_index(torch.arange(start, stop), tensor.shape)]
