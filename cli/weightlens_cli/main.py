"""The list of commands. Nothing heavy is imported here or by the commands' modules."""

import gc
from typing import Annotated

import typer

from weightlens.version import VERSION
from weightlens_cli.commands.cache import cache
from weightlens_cli.commands.card import card
from weightlens_cli.commands.compare import compare
from weightlens_cli.commands.demo import demo
from weightlens_cli.commands.doctor import doctor
from weightlens_cli.commands.evaluate import evaluate
from weightlens_cli.commands.extract import extract
from weightlens_cli.commands.inspect import inspect
from weightlens_cli.commands.merge import merge
from weightlens_cli.commands.mergekit_yaml import PASSED_ON, mergekit_yaml
from weightlens_cli.commands.overlap import overlap
from weightlens_cli.commands.push import push
from weightlens_cli.commands.recipe import recipe
from weightlens_cli.commands.report import report
from weightlens_cli.commands.runs import runs
from weightlens_cli.outcome import reported

app = typer.Typer(
    name="weightlens",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)

_VERSION = typer.Option(
    "--version",
    help="Print the version and leave.",
    is_eager=True,
    callback=lambda on: _version(on),
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"weightlens {VERSION}")
        raise typer.Exit()


@app.callback()
def main(version: Annotated[bool, _VERSION] = False) -> None:
    """See, strip and merge the overlap between fine-tuning deltas and base weights.

    Exit codes: 0 done, 1 a measured check failed, 2 the input is at fault, 3 an internal error,
    130 interrupted.
    """


app.command("demo")(reported(demo))
app.command("inspect")(reported(inspect))
app.command("overlap")(reported(overlap))
app.command("compare")(reported(compare))
app.command("merge")(reported(merge))
app.command("extract")(reported(extract))
app.command("mergekit-yaml", context_settings=PASSED_ON, add_help_option=False)(
    reported(mergekit_yaml)
)
app.command("eval")(reported(evaluate))
app.command("card")(reported(card))
app.command("report")(reported(report))
app.command("runs")(reported(runs))
app.command("push")(reported(push))
app.add_typer(recipe, name="recipe")
app.add_typer(cache, name="cache")
app.command("doctor")(reported(doctor))


_OBJECTS = 100_000
"""Made since the last look for cycles before Python looks again."""


def run() -> None:
    """The program."""
    # hundreds of thousands of objects come with torch and stay: looking for cycles among them, as
    # Python does after every 700, takes a tenth of the time until they are there
    gc.set_threshold(_OBJECTS)
    try:
        app()
    finally:
        # the process ends here: looking for cycles to break in all that torch has made would take
        # a third of a second
        gc.freeze()
