"""`weightlens compare`: fine-tunes against each other."""

from pathlib import Path
from typing import Annotated

import typer

from weightlens_cli import screen
from weightlens_cli.measuring import measuring_bar
from weightlens_cli.selecting import selection_of, size_of


def compare(
    base: Annotated[str, typer.Argument(help="Base model: folder, Hub id[@revision].")],
    tuned: Annotated[
        list[str], typer.Argument(help="Two or more fine-tunes: folders, adapters, BASE+ADAPTER….")
    ],
    energy: Annotated[
        float | None, typer.Option(help="Part of each delta that its subspaces hold; 0.95.")
    ] = None,
    rank: Annotated[int | None, typer.Option(help="Or a number of singular vectors.")] = None,
    fraction: Annotated[float | None, typer.Option(help="Or a share of min(m, n).")] = None,
    include: Annotated[
        str | None, typer.Option(help="Compare tensors whose name matches this REGEX.")
    ] = None,
    exclude: Annotated[
        str | None, typer.Option(help="Leave out tensors whose name matches this REGEX.")
    ] = None,
    json: Annotated[
        str | None, typer.Option(help="Write the full report as JSON to a file, or - .")
    ] = None,
) -> None:
    """Whether fine-tunes of one base get in each other's way.

    Cosine, sign conflict, principal angles, subspace alignment (over chance) and singular task
    interference of every two, in one pass over the files. LoRA deltas stay in their factors. Ctrl-C
    leaves what was compared, and the same command goes on from there.
    """
    screen.check_target(json)
    from weightlens.report.compare_tables import compare_tables
    from weightlens.survey.compare import DEFAULT_SIZE, compare_models
    from weightlens.survey.unfinished import Unfinished

    with measuring_bar() as progress:
        report = compare_models(
            base,
            tuned,
            size=size_of(energy, rank, fraction, default=DEFAULT_SIZE),
            selection=selection_of(include, exclude),
            unfinished=Unfinished(None if json in (None, "-") else Path(str(json))),
            progress=progress,
        )
    if json is not None:
        screen.write_text(report.to_json(), json)
    if json != "-":
        screen.console().print(*compare_tables(report), sep="\n")
    screen.name_written(json=json)
