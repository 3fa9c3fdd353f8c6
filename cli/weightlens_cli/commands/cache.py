"""`weightlens cache`: factorisations kept on disk."""

from typing import Annotated

import typer

from weightlens_cli import screen
from weightlens_cli.outcome import reported

cache = typer.Typer(
    no_args_is_help=True,
    help="Factorisations of base weights kept on disk, so that a second analysis starts warm.",
)


@cache.command("ls")
@reported
def ls(
    json: Annotated[str | None, typer.Option(help="Write it as JSON to a file, or - .")] = None,
) -> None:
    """What is kept, where, and how much room it takes.

    WEIGHTLENS_CACHE names another folder, WEIGHTLENS_CACHE_GIB another limit than 10 GiB (0: keep
    nothing). Those used longest ago go first.
    """
    screen.check_target(json)
    from weightlens.report.cache_table import cache_table
    from weightlens.survey.cached import list_cache

    listing = list_cache()
    if json is not None:
        screen.write_text(listing.to_json(), json)
    if json != "-":
        screen.console().print(*cache_table(listing), sep="\n")


@cache.command("clear")
@reported
def clear() -> None:
    """Removes everything that is kept."""
    from weightlens.survey.cached import clear_cache

    freed = clear_cache()
    print(f"{freed / 1e6:,.1f} MB freed")
