"""`weightlens inspect`: what a checkpoint holds."""

from typing import Annotated

import typer

from weightlens_cli import screen
from weightlens_cli.measuring import measuring_bar


def inspect(
    model: Annotated[
        str, typer.Argument(help="Model: folder, PEFT adapter folder, Hub id[@revision].")
    ],
    spectra: Annotated[
        bool,
        typer.Option("--spectra", help="Read the weights too: norms, ranks, NaN, dead rows."),
    ] = False,
    json: Annotated[str | None, typer.Option(help="Write it as JSON to a file, or - .")] = None,
) -> None:
    """What a checkpoint holds, from its headers alone (pickled weights have none and are opened).

    Shows how a merge by weightlens was made, where the folder is one.
    """
    screen.check_target(json)
    from weightlens.report.inspect_tables import inspect_tables
    from weightlens.survey.inspect import inspect_model

    report = inspect_model(model)
    if spectra:
        from weightlens.survey.spectra import measure_spectra

        with measuring_bar() as progress:
            found = measure_spectra(model, progress=progress)
        report = report.model_copy(update={"spectra": found})
    if json is not None:
        screen.write_text(report.to_json(), json)
    if json != "-":
        screen.console().print(*inspect_tables(report), sep="\n")
    screen.name_written(json=json)
