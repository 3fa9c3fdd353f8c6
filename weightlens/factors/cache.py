"""Factorisations kept on disk, by the content of the matrix that they belong to.

One safetensors file a matrix: the eigenvectors of the short side in float32 (half to all of the
size of a model in bfloat16, by its shapes), σ² and the certificate in float64; the other side's
vectors follow from the matrix. The key is the xxh3-128 of the matrix in float32, so the same
weights are found again under any name, in any file and in any dtype that holds them; and of how
they were factorised: another device, torch or number of threads rounds otherwise, and what is
found must be what would be computed, to the bit.

A file is whole or absent: written beside its place and renamed. What is damaged or of another form
counts as absent and is removed; a digest tells. That finds accidents: who can write the folder can
forge its contents. When the files outgrow the limit, those used longest ago go, but none that this
run has used.
"""

import contextlib
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import torch
import xxhash
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field, Strict
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.backends.cpu import get_cpu_capability

from weightlens.errors import InputError
from weightlens.spectral.basis import FLOAT32_ROUNDING, Factorisation, FactorisationPath

FOLDER_VARIABLE, LIMIT_VARIABLE = "WEIGHTLENS_CACHE", "WEIGHTLENS_CACHE_GIB"
DEFAULT_LIMIT = 10 << 30

_FORMAT: Literal["weightlens.factors/2"] = "weightlens.factors/2"
_TENSORS = ("sigma_squared", "residuals", "vectors")
_SUFFIX = ".safetensors"


@dataclass(frozen=True)
class CacheEntry:
    """One file. shape: of the matrix; vectors: how many are known; used: seconds since 1970."""

    key: str
    shape: tuple[int, int]
    vectors: int
    bytes: int
    used: float


class FactorCache:
    """A folder of factorisations that stays below a size."""

    def __init__(self, folder: Path, *, limit: int = DEFAULT_LIMIT) -> None:
        """limit: bytes; the folder is made when something is put there."""
        self.folder, self.limit = folder, limit
        self._used: set[Path] = set()

    def get(self, key: str, matrix: Float[Tensor, "m n"]) -> Factorisation | None:
        """The factorisation of a matrix with this key, on the matrix's device; None if absent."""
        file = self._file(key)
        try:
            with safe_open(file, "pt") as stored:
                facts = Facts.read(stored.metadata())
                tensors = {name: stored.get_tensor(name) for name in _TENSORS}
            facts.check(tensors, matrix)
        except (FileNotFoundError, PermissionError):
            return None
        except (OSError, ValueError, KeyError, TypeError, RecursionError, SafetensorError):
            self._remove(file)
            return None
        self._used.add(file)
        with contextlib.suppress(OSError):  # a folder that is only to be read
            os.utime(file)
        # copies: any tensor of a file holds all of it in memory
        sigma_squared, residuals = (
            tensors[name].to(matrix.device, copy=True) for name in ("sigma_squared", "residuals")
        )
        return Factorisation(
            matrix=matrix,
            sigma_squared=sigma_squared,
            vectors=tensors["vectors"].to(matrix.device).double(),
            squared_norm=facts.squared_norm,
            residuals=residuals,
            path=facts.path,
            beyond=facts.beyond,
            beyond_error=facts.beyond_error,
            vector_error=FLOAT32_ROUNDING,
        )

    def put(self, key: str, factorisation: Factorisation) -> None:
        """Keeps a factorisation; vectors are rounded to float32. A full disk keeps nothing."""
        tensors = {
            "vectors": factorisation.vectors.float().contiguous().cpu(),
            "sigma_squared": factorisation.sigma_squared.contiguous().cpu(),
            "residuals": factorisation.residuals.contiguous().cpu(),
        }
        m, n = factorisation.matrix.shape
        facts = Facts(
            format=_FORMAT,
            shape=(m, n),
            digest=_digest(tensors),
            squared_norm=factorisation.squared_norm,
            path=factorisation.path,
            beyond=factorisation.beyond,
            beyond_error=factorisation.beyond_error,
        )
        if sum(t.nbytes for t in tensors.values()) > self.limit:
            return
        with contextlib.suppress(OSError, SafetensorError):
            self.folder.mkdir(parents=True, exist_ok=True)
            beside = self.folder / f"{key}.{os.getpid()}.{secrets.token_hex(4)}.partial"
            try:
                beside.touch(mode=0o666, exist_ok=False)
                allowed = beside.stat().st_mode  # less what the user's umask takes away
                save_file(tensors, beside, metadata={"weightlens": facts.model_dump_json()})
                beside.chmod(allowed)
                if self._has_room(beside.stat().st_size, self._file(key)):
                    beside.replace(self._file(key))
                    self._used.add(self._file(key))
            finally:
                beside.unlink(missing_ok=True)

    def entries(self) -> list[CacheEntry]:
        """Everything that is kept, used longest ago first."""
        found = []
        for file in self.folder.glob(f"*{_SUFFIX}"):
            with contextlib.suppress(
                OSError, SafetensorError, ValueError, KeyError, TypeError, RecursionError
            ):
                status = file.stat()
                with safe_open(file, "pt") as stored:
                    facts = Facts.read(stored.metadata())
                    (vectors,) = stored.get_slice("sigma_squared").get_shape()
                found.append(
                    CacheEntry(file.stem, facts.shape, vectors, status.st_size, status.st_mtime)
                )
        return sorted(found, key=lambda entry: (entry.used, entry.key))

    def clear(self) -> int:
        """Removes everything; returns the bytes freed."""
        freed = 0
        for file in [*self.folder.glob(f"*{_SUFFIX}"), *self.folder.glob("*.partial")]:
            with contextlib.suppress(OSError):
                freed += file.stat().st_size
                file.unlink()
        return freed

    def _file(self, key: str) -> Path:
        return self.folder / f"{key}{_SUFFIX}"

    def _has_room(self, size: int, replaced: Path) -> bool:
        """Makes room, but not at the cost of what this run has used or kept: a model larger than
        the limit would push its own matrices out before they are needed again."""
        files = []
        for file in self.folder.glob(f"*{_SUFFIX}"):
            with contextlib.suppress(OSError):
                if file != replaced:
                    status = file.stat()
                    files.append((status.st_mtime, status.st_size, file))
        total = size + sum(held for _, held, _ in files)
        spare = [found for found in sorted(files) if found[2] not in self._used]
        if total - sum(held for _, held, _ in spare) > self.limit:
            return False
        for _, held, file in spare:
            if total <= self.limit:
                break
            self._remove(file)
            total -= held
        return True

    @staticmethod
    def _remove(file: Path) -> None:
        with contextlib.suppress(OSError):
            file.unlink()


def key_of(matrix: Float[Tensor, "m n"], device: torch.device | None = None) -> str:
    """The key of a matrix: its shape, and the xxh3-128 of its entries in float32, row by row, and
    of what its factorisation is computed with. device: where, if not where the matrix lies."""
    content = matrix.detach().cpu().float().contiguous()
    digest = xxhash.xxh3_128(content.numpy().data)
    digest.update(arithmetic(device or matrix.device).encode())
    m, n = matrix.shape
    return f"{m}x{n}-{digest.hexdigest()}"


def arithmetic(device: torch.device) -> str:
    """What the rounding of a result depends on besides its operands."""
    on = device.type
    name = torch.cuda.get_device_name(device) if on == "cuda" else get_cpu_capability()
    return f"torch {torch.__version__}, {on} {name}, {torch.get_num_threads()} threads"


def cache_folder() -> Path:
    """Where weightlens keeps what it can make again: $WEIGHTLENS_CACHE, else the user's cache."""
    if named := os.environ.get(FOLDER_VARIABLE):
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "weightlens"


def default_cache() -> FactorCache | None:
    """The user's cache, 10 GiB unless $WEIGHTLENS_CACHE_GIB says otherwise; None for 0.

    Raises InputError where that is no number.
    """
    text = os.environ.get(LIMIT_VARIABLE)
    try:
        limit = DEFAULT_LIMIT if text is None else int(float(text) * (1 << 30))
    except (ValueError, OverflowError):
        raise InputError(f"{LIMIT_VARIABLE}={text!r} is no number of GiB") from None
    return FactorCache(cache_folder() / "factors", limit=limit) if limit > 0 else None


class Facts(BaseModel):
    """What a file says of its matrix besides the tensors. digest: xxh3-128 of their bytes."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    format: Literal["weightlens.factors/2"]
    shape: Annotated[tuple[int, int], Strict(False)]
    digest: str
    squared_norm: float = Field(ge=0)
    path: FactorisationPath
    beyond: float = Field(ge=0)
    beyond_error: float = Field(ge=0)

    @classmethod
    def read(cls, metadata: dict[str, str] | None) -> "Facts":
        """From a file's metadata. Raises ValueError (pydantic's) for anything else."""
        return cls.model_validate_json((metadata or {}).get("weightlens", ""))

    def check(self, tensors: dict[str, Tensor], matrix: Float[Tensor, "m n"]) -> None:
        """Raises ValueError unless the tensors are whole and those of a matrix of this shape."""
        if self.shape != tuple(matrix.shape) or self.digest != _digest(tensors):
            raise ValueError("another matrix, or damaged")
        known, d = len(tensors["sigma_squared"]), min(self.shape)
        shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        if shapes != {"vectors": (d, known), "sigma_squared": (known,), "residuals": (known,)}:
            raise ValueError("shapes that do not fit each other")
        if not 1 <= known <= d or not all(torch.isfinite(t).all() for t in tensors.values()):
            raise ValueError("not a factorisation")
        values = tensors["sigma_squared"]
        if values[-1] < 0 or bool((values.diff() > 0).any()):
            raise ValueError("singular values that do not fall")


def _digest(tensors: dict[str, Tensor]) -> str:
    digest = xxhash.xxh3_128()
    for name in _TENSORS:
        digest.update(tensors[name].numpy().data)
    return digest.hexdigest()
