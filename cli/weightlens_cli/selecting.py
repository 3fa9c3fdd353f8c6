"""Options that several commands share: the size of a subspace, and which tensors."""

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from weightlens.checkpoint.selection import Selection
    from weightlens.spectral.rank import SubspaceSize


def size_of(
    energy: float | None,
    rank: int | None,
    fraction: float | None,
    *,
    default: "SubspaceSize | None" = None,
) -> "SubspaceSize":
    """The size of a subspace from three options. Raises InputError for two of them."""
    from weightlens.errors import InputError
    from weightlens.spectral.rank import RankBy, SubspaceSize

    sizes: dict[RankBy, float | None] = {"energy": energy, "rank": rank, "fraction": fraction}
    given = [(by, value) for by, value in sizes.items() if value is not None]
    if len(given) > 1:
        raise InputError("give one of --energy, --rank and --fraction")
    try:
        return SubspaceSize(*given[0]) if given else default or SubspaceSize()
    except ValueError as error:
        raise InputError(f"--{given[0][0]}: {error}") from None


def selection_of(include: str | None, exclude: str | None) -> "Selection":
    """Which tensors to take. Raises InputError for what is no regular expression."""
    from weightlens.checkpoint.selection import Selection
    from weightlens.errors import InputError

    for option, pattern in (("--include", include), ("--exclude", exclude)):
        try:
            re.compile(pattern or "")
        except re.error as error:
            raise InputError(f"{option}: {pattern!r} is no regular expression ({error})") from None
    return Selection(include=include, exclude=exclude)
