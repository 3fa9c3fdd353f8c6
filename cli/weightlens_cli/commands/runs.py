"""`weightlens runs`: what is in a folder of runs, and two runs against each other."""

from pathlib import Path
from typing import Annotated

import typer

from weightlens_cli import screen


def runs(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[DIR | A B]",
            help="A folder to list, the current one if none is given; or two runs to compare.",
        ),
    ] = None,
    json: Annotated[str | None, typer.Option(help="Write it as JSON to a file, or - .")] = None,
) -> None:
    """What is in a folder of runs: recipe or suite, when, which models, main scores.

    Looks into the folders below too. With two paths, each a result's file or the folder that holds
    it, compares two merges (recipe, sources, overlap as written), two evaluations (scores, paired
    where the answers lie beside them) or two overlaps (module by module).
    """
    screen.check_target(json)
    from weightlens.errors import InputError

    if len(paths or ()) > 2:
        raise InputError("name one folder to list, or two runs to compare")
    if paths and len(paths) == 2:
        from weightlens.report.run_pair import compare_runs, pair_tables

        pair = compare_runs(*paths)
        text, tables = pair.to_json(), pair_tables(pair)
    else:
        from weightlens.report.listing import listed, runs_tables
        from weightlens.report.runs import find_runs

        found = listed(find_runs(paths[0] if paths else Path()))
        text, tables = found.to_json(), runs_tables(found)
    if json is not None:
        screen.write_text(text, json)
    if json != "-":
        screen.console().print(*tables, sep="\n")
    screen.name_written(json=json)
