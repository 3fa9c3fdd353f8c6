"""What becomes of memory that this process has freed, where the C library is glibc.

Blocks: glibc hands back what lies free at the end of a thread's memory, and takes it anew for the
next block, page by page: a fifth of the time of a linear merge. Blocks are small and few, so it may
as well keep them.

Matrices: once one of 32 MB was freed, glibc puts all that are smaller among the blocks, where they
leave holes that no other fits: a fifth of an analysis's peak. They are to go back at once, unless
time counts for more than memory: a strip passes a dozen of them, and their pages are a tenth of it.
"""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""What mallopt(3) calls M_TRIM_THRESHOLD and M_MMAP_THRESHOLD."""
_KEPT = 1 << 26
"""Bytes that a thread keeps: some dozens of blocks."""
_MAPPED = 1 << 23
"""Bytes from which something is a matrix."""
_MOST = (1 << 31) - 1
"""The most that mallopt takes."""


@cache
def keep_freed_blocks() -> None:
    """Has this process keep the memory of blocks, and none of matrices; without effect where the C
    library is another."""
    _set(kept=_KEPT, mapped=_MAPPED)


@contextmanager
def freed_matrices_kept() -> Iterator[None]:
    """Within, the memory of matrices is kept too; at its end all that is free goes back."""
    _set(kept=_MOST, mapped=_MOST)
    try:
        yield
    finally:
        _set(kept=_KEPT, mapped=_MAPPED)
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


def _set(*, kept: int, mapped: int) -> None:
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_TRIM_THRESHOLD, kept)
        mallopt(_MMAP_THRESHOLD, mapped)
