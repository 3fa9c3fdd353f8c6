"""Checksums of a folder's tensors: xxh3-128 of each one's bytes, as a merge records them.

They do not depend on how tensors are spread over shards, nor on what else stands in the headers.
"""

from collections.abc import Callable
from pathlib import Path

import xxhash

from weightlens.checkpoint.header import Entry, scan_folder

_READ_BYTES = 1 << 18
"""What fits the cache of one processor core is summed from there."""


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
        found[name] = _checksum(entry)
        done += entry.nbytes
        progress(done, total, name)
    return found


def _checksum(entry: Entry) -> str:
    digest = xxhash.xxh3_128()
    with entry.file.open("rb", buffering=0) as stream:
        stream.seek(entry.offset)
        left = entry.nbytes
        while left and (chunk := stream.read(min(left, _READ_BYTES))):
            digest.update(chunk)
            left -= len(chunk)
    return digest.hexdigest()
