"""`weightlens recipe`: begin, check and look up recipes."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from weightlens_cli import screen
from weightlens_cli.outcome import INPUT_AT_FAULT, reported

recipe = typer.Typer(
    no_args_is_help=True,
    help="Recipes for `weightlens merge`: one to begin with, a check, and what methods there are.",
)


@recipe.command("new")
@reported
def new(
    method: Annotated[str, typer.Argument(help="Merge method; `recipe methods` lists them.")],
    out: Annotated[
        Path | None, typer.Option(help="Write it to this file, which must be new.")
    ] = None,
) -> None:
    """Print a recipe for a method, with every parameter and a comment to each.

    It holds the methods' defaults and stands as it is, but for the names of the models.
    """
    from weightlens.errors import OutputError
    from weightlens.merge.template import template

    text = template(method)
    if out is None:
        print(text, end="")
        return
    screen.check_target(str(out))
    if out.exists():
        raise OutputError(f"{out}: exists already; nothing was written")
    screen.write_text(text, str(out))
    screen.name_written(recipe=out)


@recipe.command("check")
@reported
def check(
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="Recipe files (YAML).")],
    lenient: Annotated[
        bool, typer.Option("--lenient", help="Unknown keys are warnings, and ignored.")
    ] = False,
) -> None:
    """Check recipes without reading a model, and say what each comes to.

    Errors name file, line and field. `weightlens merge --dry-run` checks the models as well.
    """
    from weightlens.errors import RecipeError
    from weightlens.merge.checking import check_recipe
    from weightlens.report.recipe_tables import outline

    at_fault = False
    for file in files:
        try:
            lines = outline(file, check_recipe(file, lenient=lenient))
        except RecipeError as error:
            print(f"error: {error}", file=sys.stderr)
            at_fault = True
        else:
            print(*lines, sep="\n")
    if at_fault:
        raise typer.Exit(INPUT_AT_FAULT)


@recipe.command("methods")
@reported
def methods(
    name: Annotated[str | None, typer.Argument(help="One of them, to be told in full.")] = None,
    json: Annotated[str | None, typer.Option(help="Write it as JSON to a file, or - .")] = None,
) -> None:
    """Every merge method with its parameters; of one its sources, base and reference too."""
    screen.check_target(json)
    from weightlens.merge.catalogue import Catalogue, catalogue, method_entry
    from weightlens.report.method_list import method_in_full, method_list

    found = catalogue() if name is None else Catalogue(methods=[method_entry(name)])
    shown = method_list(found) if name is None else method_in_full(found.methods[0])
    if json is not None:
        screen.write_text(found.to_json(), json)
    if json != "-":
        screen.console().print(*shown, sep="\n")
    screen.name_written(json=json)
