"""`weightlens merge`: carries out a recipe."""

from pathlib import Path
from typing import Annotated

import typer

from weightlens_cli import screen
from weightlens_cli.caching import NoCache, chosen_cache


def merge(
    recipe: Annotated[Path, typer.Argument(help="Recipe file (YAML).")],
    out: Annotated[Path, typer.Argument(help="Output folder; must be new or empty.")],
    seed: Annotated[int, typer.Option(help="Seed of random subspaces.")] = 0,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace OUT once the new merge is whole.")
    ] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Do not go on from what an earlier run left.")
    ] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read every tensor back before OUT gets its name.")
    ] = False,
    no_cache: NoCache = False,
    json: Annotated[
        str | None, typer.Option(help="Write the merge's record as JSON to a file, or - .")
    ] = None,
) -> None:
    """Merge models as a recipe says, tensor by tensor.

    Everything goes into OUT.partial, which is renamed to OUT when it is whole. Where a run was
    interrupted or killed, the same command goes on from OUT.partial. The record of the
    merge (recipe, sources with hashes, overlaps before, after and as written) lies beside the
    weights as weightlens.json.
    """
    screen.check_target(json)
    from weightlens.merge.engine import run_merge
    from weightlens.report.tables import merge_tables

    with screen.progress_bar() as bar:
        task = bar.add_task("merging", total=None)
        report = run_merge(
            recipe,
            out,
            seed=seed,
            overwrite=overwrite,
            fresh=fresh,
            verify=verify,
            cache=chosen_cache(no_cache),
            progress=lambda done, total, name: bar.update(task, completed=done, total=total),
        )
    if json is not None:
        screen.write_text(report.to_json(), json)
    if json != "-":
        screen.console().print(*merge_tables(report, out), sep="\n")
