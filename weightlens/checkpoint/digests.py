"""Hashes of weights, piece by piece: a merge hashes what it reads anyway, on the way.

The pieces of a safetensors file are its header and its tensors, in the order in which they lie in
it; any other file is one piece. A folder's hash is over those of its pieces, so that it does not
matter which of them were read for something else before. An adapter's is over its settings too:
without them its factors are no deltas.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from threading import get_ident
from types import MappingProxyType

import xxhash

from weightlens.checkpoint.adapter_digest import settings_bytes
from weightlens.checkpoint.header import read_header
from weightlens.checkpoint.weight_files import ADAPTER_CONFIG, hashed_files
from weightlens.errors import InputError

_CHUNK = 1 << 18
"""Bytes that fit the cache of one processor core."""


@dataclass(frozen=True)
class Piece:
    """Bytes of a file: `size` of them from `offset` on."""

    file: Path
    offset: int
    size: int


@dataclass
class _Begun:
    digest: xxhash.xxh3_128
    done: int = 0


class ReadDigests:
    """The xxh3-128 of each piece that one thread has read from its first byte to its last; what is
    read in any other order is left for `content_hash` to read."""

    def __init__(self) -> None:
        self.known: dict[Piece, bytes] = {}
        self._news: list[Piece] = []
        self._begun: dict[tuple[int, Piece], _Begun] = {}

    def see(self, piece: Piece, start: int, raw: memoryview) -> None:
        """Takes bytes of a piece, from its byte `start` on."""
        if piece in self.known:
            return
        key = get_ident(), piece
        if start == 0:
            self._begun[key] = _Begun(xxhash.xxh3_128())
        begun = self._begun.get(key)
        if begun is None or begun.done != start:
            return
        begun.digest.update(raw)
        begun.done += len(raw)
        if begun.done == piece.size:
            self.known[piece] = begun.digest.digest()
            self._news.append(piece)
            del self._begun[key]

    def news(self) -> dict[Piece, bytes]:
        """What has come to be known since the last call, for another process to `learn`."""
        pieces, self._news = self._news, []
        return {piece: self.known[piece] for piece in pieces}

    def learn(self, known: Mapping[Piece, bytes]) -> None:
        """Takes what another process has read."""
        self.known.update(known)


NOTHING_READ: Mapping[Piece, bytes] = MappingProxyType({})


def content_hash(folder: Path, known: Mapping[Piece, bytes] = NOTHING_READ) -> str:
    """xxh3-128 over the names and the pieces' xxh3-128 of a folder's safetensors files, or of its
    pickles where the weights are read from those, in order of their names; of an adapter also over
    what its configuration says of its deltas.

    known: of pieces that need not be read again.
    """
    digest = xxhash.xxh3_128()
    for file in hashed_files(folder):
        digest.update(file.name.encode())
        for piece in _pieces(file):
            digest.update(known.get(piece) or piece_digest(piece))
    settings = settings_bytes(folder)
    if settings is not None:
        digest.update(ADAPTER_CONFIG.encode())
        digest.update(xxhash.xxh3_128_digest(settings))
    return digest.hexdigest()


def _pieces(file: Path) -> list[Piece]:
    try:
        places = [entry.offset for entry in read_header(file).values()]
    except InputError:  # a pickle, or none of the files that are read
        places = []
    ends = [*sorted({0, *places}), file.stat().st_size]
    return [Piece(file, start, end - start) for start, end in pairwise(ends) if end > start]


def piece_digest(piece: Piece) -> bytes:
    """The xxh3-128 of a piece as it is in its file."""
    digest, left = xxhash.xxh3_128(), piece.size
    chunk = memoryview(bytearray(_CHUNK))
    with piece.file.open("rb", buffering=0) as stream:
        stream.seek(piece.offset)
        while left and (count := stream.readinto(chunk[:left])):
            digest.update(chunk[:count])
            left -= count
    return digest.digest()
