"""`weightlens doctor`: what this machine has."""

from typing import Annotated

import typer

from weightlens_cli import screen


def doctor(
    json: Annotated[str | None, typer.Option(help="Write it as JSON to a file, or - .")] = None,
) -> None:
    """What this machine has: processors, memory, disk, GPUs, packages, a token for the Hub or none.

    Nothing is changed, nobody is asked, and the token is never shown.
    """
    screen.check_target(json)
    from weightlens.machine import inspect_machine
    from weightlens.report.machine_table import machine_table

    machine = inspect_machine()
    if json is not None:
        screen.write_text(machine.to_json(), json)
    if json != "-":
        screen.console().print(machine_table(machine))
