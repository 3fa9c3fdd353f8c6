"""`weightlens report`: one page out of the results of other commands."""

from pathlib import Path
from typing import Annotated

import typer

from weightlens_cli import screen


def report(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN...",
            help="Results: a merge's folder, an --out of eval, a --json of overlap or compare.",
        ),
    ],
    html: Annotated[Path | None, typer.Option(help="Write a self-contained page.")] = None,
    markdown: Annotated[
        str | None, typer.Option(help="Write it as Markdown for a pull request, to a file or - .")
    ] = None,
    svg: Annotated[
        Path | None,
        typer.Option(help="Write scores and overlap of the first merge as .svg, .pdf or .png."),
    ] = None,
    withhold: Annotated[
        bool,
        typer.Option(
            "--withhold", help="Leave harmful answers out of the page, rather than fold them up."
        ),
    ] = False,
) -> None:
    """One page that says whether a merge is any good, and all that is behind it.

    Scores beside base and sources, refusals, what was stripped, recipe, overlaps, answers and
    provenance, of whatever of these is there. Models are matched by the hashes of their weights.
    Without --html, --markdown or --svg the Markdown is printed.
    """
    for target in (markdown, *(None if at is None else str(at) for at in (html, svg))):
        screen.check_target(target)
    from weightlens.errors import InputError
    from weightlens.report.paper import check_figure
    from weightlens.report.runs import read_runs
    from weightlens.report.subject import subject_of

    if svg is not None:
        check_figure(svg)
    subject = subject_of(read_runs(runs))
    if html is not None:
        from weightlens.report.report_page import write_report_page

        write_report_page(subject, html, withheld=withhold)
    if svg is not None:
        from weightlens.report.report_figure import write_report_figure

        if not subject.merges:
            raise InputError("--svg draws a merge: name its folder too")
        write_report_figure(*subject.merges[0], svg)
    if markdown is None and html is None and svg is None:
        markdown = "-"
    if markdown is not None:
        from weightlens.report.report_markdown import report_markdown

        screen.write_text(report_markdown(subject), markdown)
    screen.name_written(page=html, figure=svg, markdown=markdown)
