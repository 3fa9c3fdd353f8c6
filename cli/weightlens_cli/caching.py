"""`--no-cache`: the option that several commands share, and the cache that it stands for."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from weightlens.factors import FactorCache

NoCache = Annotated[
    bool,
    typer.Option("--no-cache", help="Neither look for factorisations on disk nor keep them."),
]


def chosen_cache(no_cache: bool) -> "FactorCache | None":
    """The user's cache unless it is not wanted."""
    from weightlens.factors import default_cache

    return None if no_cache else default_cache()
