"""Factorisations kept on disk, by the content of the matrix that they belong to.

One safetensors file a matrix: the eigenvectors of the short side in float32 (for all of them about
half the size of a model in bfloat16), σ² and the certificate in float64; the other side's vectors
follow from the matrix. The key is the xxh3-128 of the matrix in float32, so the same weights are
found again under any name, in any file and in any dtype that holds them.

A file is whole or absent: written beside its place and renamed. What cannot be read counts as
absent and is removed. When the files outgrow the limit, those used longest ago go.
"""

import contextlib
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xxhash
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from weightlens.errors import InputError
from weightlens.spectral.basis import FLOAT32_ROUNDING, Factorisation

FOLDER_VARIABLE, LIMIT_VARIABLE = "WEIGHTLENS_CACHE", "WEIGHTLENS_CACHE_GIB"
DEFAULT_LIMIT = 10 << 30

_FORMAT = "weightlens.factors/1"
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

    def get(self, key: str, matrix: Float[Tensor, "m n"]) -> Factorisation | None:
        """The factorisation of a matrix with this key, on the matrix's device; None if absent."""
        file = self._file(key)
        try:
            with safe_open(file, "pt", device=str(matrix.device)) as stored:
                facts = _facts(stored.metadata())
                if facts is None or tuple(facts["shape"]) != tuple(matrix.shape):
                    raise ValueError("another format or matrix")
                found = Factorisation(
                    matrix=matrix,
                    sigma_squared=stored.get_tensor("sigma_squared"),
                    vectors=stored.get_tensor("vectors").double(),
                    squared_norm=facts["squared_norm"],
                    residuals=stored.get_tensor("residuals"),
                    path=facts["path"],
                    beyond=facts["beyond"],
                    beyond_error=facts["beyond_error"],
                    vector_error=FLOAT32_ROUNDING,
                )
            os.utime(file)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, SafetensorError):
            self._remove(file)
            return None
        return found

    def put(self, key: str, factorisation: Factorisation) -> None:
        """Keeps a factorisation; vectors are rounded to float32. A full disk keeps nothing."""
        tensors = {
            "vectors": factorisation.vectors.float().contiguous().cpu(),
            "sigma_squared": factorisation.sigma_squared.contiguous().cpu(),
            "residuals": factorisation.residuals.contiguous().cpu(),
        }
        facts = {
            "format": _FORMAT,
            "shape": tuple(factorisation.matrix.shape),
            "squared_norm": factorisation.squared_norm,
            "path": factorisation.path,
            "beyond": factorisation.beyond,
            "beyond_error": factorisation.beyond_error,
        }
        size = sum(t.nbytes for t in tensors.values())
        if size > self.limit:
            return
        with contextlib.suppress(OSError, SafetensorError):
            self.folder.mkdir(parents=True, exist_ok=True)
            self._make_room(size)
            descriptor, name = tempfile.mkstemp(dir=self.folder, suffix=".partial")
            os.close(descriptor)
            try:
                save_file(tensors, name, metadata={"weightlens": json.dumps(facts)})
                os.replace(name, self._file(key))
            finally:
                Path(name).unlink(missing_ok=True)

    def entries(self) -> list[CacheEntry]:
        """Everything that is kept, used longest ago first."""
        found = []
        for file in self.folder.glob(f"*{_SUFFIX}"):
            with contextlib.suppress(OSError, SafetensorError, ValueError):
                status = file.stat()
                with safe_open(file, "pt") as stored:
                    facts = _facts(stored.metadata())
                    vectors = stored.get_slice("sigma_squared").get_shape()[0]
                if facts is not None:
                    m, n = facts["shape"]
                    found.append(
                        CacheEntry(file.stem, (m, n), vectors, status.st_size, status.st_mtime)
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

    def _make_room(self, size: int) -> None:
        files = []
        for file in self.folder.glob(f"*{_SUFFIX}"):
            with contextlib.suppress(OSError):
                status = file.stat()
                files.append((status.st_mtime, status.st_size, file))
        total = size + sum(held for _, held, _ in files)
        for _, held, file in sorted(files):
            if total <= self.limit:
                return
            self._remove(file)
            total -= held

    @staticmethod
    def _remove(file: Path) -> None:
        with contextlib.suppress(OSError):
            file.unlink()


def key_of(matrix: Float[Tensor, "m n"]) -> str:
    """The key of a matrix: its shape and the xxh3-128 of its entries in float32, row by row."""
    content = matrix.detach().cpu().float().contiguous()
    m, n = matrix.shape
    return f"{m}x{n}-{xxhash.xxh3_128_hexdigest(content.numpy().data)}"


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


def _facts(metadata: dict[str, str] | None) -> dict[str, Any] | None:
    facts = json.loads((metadata or {}).get("weightlens", "{}"))
    return facts if facts.get("format") == _FORMAT else None
