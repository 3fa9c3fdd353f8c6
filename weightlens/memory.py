"""What becomes of memory that this process has freed, where the C library is glibc.

Blocks: glibc hands back what lies free at the end of a thread's memory, and takes it anew for the
next block, page by page: a fifth of the time of a linear merge. Blocks are small and few, so it may
as well keep them.

Matrices: once one of 32 MB was freed, glibc puts all that are smaller among the blocks, where they
leave holes that no other fits: a fifth of an analysis's peak. They are to go back at once.
"""

import ctypes
from functools import cache

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""What mallopt(3) calls M_TRIM_THRESHOLD and M_MMAP_THRESHOLD."""
_KEPT = 1 << 26
"""Bytes that a thread keeps: some dozens of blocks."""
_MAPPED = 1 << 23
"""Bytes from which something is a matrix."""


@cache
def keep_freed_blocks() -> None:
    """Has this process keep the memory of blocks, and none of matrices; without effect where the C
    library is another."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_TRIM_THRESHOLD, _KEPT)
        mallopt(_MMAP_THRESHOLD, _MAPPED)
