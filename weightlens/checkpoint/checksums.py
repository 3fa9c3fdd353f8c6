"""Checksums of a folder's tensors: xxh3-128 of each one's bytes, as a merge records them.

They do not depend on how tensors are spread over shards, nor on what else stands in the headers.
"""

from collections.abc import Callable
from pathlib import Path

from weightlens.checkpoint.digests import Piece, piece_digest
from weightlens.checkpoint.header import scan_folder


def checksums_of(
    folder: Path, progress: Callable[[int, int, str], None] = lambda done, total, name: None
) -> dict[str, str]:
    """By tensor, in hexadecimal. Reads every byte of the weights.

    progress: told the bytes read, their total and the last tensor's name. Raises what `scan_folder`
    raises.
    """
    entries = scan_folder(folder)
    total, done, found = sum(entry.nbytes for entry in entries.values()), 0, {}
    for name, entry in entries.items():
        found[name] = piece_digest(Piece(entry.file, entry.offset, entry.nbytes)).hex()
        done += entry.nbytes
        progress(done, total, name)
    return found
