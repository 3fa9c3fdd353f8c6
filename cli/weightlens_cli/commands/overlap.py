"""`weightlens overlap`: the overlap of fine-tunes with their base."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from weightlens_cli import screen
from weightlens_cli.caching import NoCache, chosen_cache
from weightlens_cli.measuring import measuring_bar
from weightlens_cli.selecting import selection_of, size_of

if TYPE_CHECKING:
    from weightlens.survey.result import OverlapReport


def overlap(
    base: Annotated[str, typer.Argument(help="Base model: folder, Hub id[@revision].")],
    tuned: Annotated[
        list[str],
        typer.Argument(help="Fine-tunes: folder, Hub id, PEFT adapter, sum BASE+ADAPTER+ADAPTER…."),
    ],
    energy: Annotated[
        float | None,
        typer.Option(help="Subspace size: share of ‖W‖² it holds (0 to 1]; 0.5 if none given."),
    ] = None,
    rank: Annotated[int | None, typer.Option(help="Subspace size: a number of vectors.")] = None,
    fraction: Annotated[
        float | None, typer.Option(help="Subspace size: a share of min(m, n).")
    ] = None,
    include: Annotated[
        str | None,
        typer.Option(help="Measure tensors whose name matches this REGEX (embeddings too)."),
    ] = None,
    exclude: Annotated[
        str | None, typer.Option(help="Leave out tensors whose name matches this REGEX.")
    ] = None,
    control: Annotated[
        str | None,
        typer.Option(help="Unrelated model whose subspaces stand in for the base's: reads chance."),
    ] = None,
    more: Annotated[
        bool,
        typer.Option("--more", help="Further metrics per matrix, into JSON, CSV and a table."),
    ] = False,
    fail_above: Annotated[
        list[str] | None,
        typer.Option(metavar="METRIC=VALUE", help="Exit 1 if a mean is above it; repeatable."),
    ] = None,
    curves: Annotated[
        bool,
        typer.Option(
            "--curves", help="Record the overlaps at some thirty ranks; --html and --figure do."
        ),
    ] = False,
    device: Annotated[
        str, typer.Option(help="Where the arithmetic is done: cpu, cuda, auto (CUDA untested).")
    ] = "cpu",
    no_cache: NoCache = False,
    json: Annotated[
        str | None, typer.Option(help="Write the full report as JSON to a file, or - .")
    ] = None,
    csv: Annotated[
        str | None, typer.Option(help="Write a row a matrix as CSV to a file, or - .")
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Write a self-contained page.")] = None,
    figure: Annotated[
        Path | None, typer.Option(help="Write a figure for a paper: .svg, .pdf or .png.")
    ] = None,
) -> None:
    """How much of each fine-tuning delta lies in the base's top singular subspaces.

    Reads the weights one matrix at a time. Overlap is given beside what chance alone would read:
    1.00x is chance, above it the delta uses directions that the base already uses most. Ctrl-C
    leaves what was measured, as partial JSON; the same command goes on from there.
    """
    for target in (json, csv, *(None if at is None else str(at) for at in (html, figure))):
        screen.check_target(target)
    from weightlens.errors import InputError
    from weightlens.report.overlap_tables import overlap_tables
    from weightlens.report.paper import check_figure
    from weightlens.survey.limits import check_limits, parse_limit
    from weightlens.survey.overlap import measure_overlap
    from weightlens.survey.unfinished import Unfinished

    if json == csv == "-":
        raise InputError("--json - and --csv -: only one of them can have standard output")
    limits = [parse_limit(text) for text in fail_above or ()]
    if figure is not None:
        check_figure(figure)

    with measuring_bar() as progress:
        report = measure_overlap(
            base,
            tuned,
            size=size_of(energy, rank, fraction),
            selection=selection_of(include, exclude),
            control=control,
            more=more,
            curves=curves or html is not None or figure is not None,
            device=device,
            cache=chosen_cache(no_cache),
            unfinished=Unfinished(None if json in (None, "-") else Path(str(json))),
            progress=progress,
        )
    _write(report, json=json, csv=csv, html=html, figure=figure)
    if "-" not in (json, csv):
        screen.console().print(*overlap_tables(report), sep="\n")
    screen.name_written(json=json, csv=csv, page=html, figure=figure)
    check_limits(report, limits)


def _write(
    report: "OverlapReport",
    *,
    json: str | None,
    csv: str | None,
    html: Path | None,
    figure: Path | None,
) -> None:
    if json is not None:
        screen.write_text(report.to_json(), json)
    if csv is not None:
        from weightlens.survey.flat import to_csv

        screen.write_text(to_csv(report), csv)
    if html is not None:
        from weightlens.report.overlap_page import write_overlap_page

        write_overlap_page(report, html)
    if figure is not None:
        from weightlens.report.paper import write_overlap_figure

        write_overlap_figure(report, figure)
