"""`weightlens push`: a finished folder to the Hub."""

from pathlib import Path
from typing import Annotated

import typer

from weightlens_cli import screen


def push(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="What merge or extract wrote.")],
    repo: Annotated[str, typer.Argument(help="OWNER/NAME on the Hub, or NAME for one of yours.")],
    private: Annotated[
        bool, typer.Option("--private", help="Make the repo a private one, where it is made.")
    ] = False,
    revision: Annotated[
        str, typer.Option(help="Branch to push to; made where it is not there.")
    ] = "main",
    create_pr: Annotated[
        bool, typer.Option("--create-pr", help="Open a pull request to main instead.")
    ] = False,
    prune: Annotated[
        bool,
        typer.Option(
            "--prune", help="Delete weights in the repo that DIR does not have, in the same commit."
        ),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Check everything and print what would be sent; write nothing."
        ),
    ] = False,
    message: Annotated[str | None, typer.Option(help="First line of the commit.")] = None,
    json: Annotated[
        str | None, typer.Option(help="Write what was sent as JSON to a file, or - .")
    ] = None,
) -> None:
    """Publish a merge or an adapter on the Hugging Face Hub, as one commit.

    Refused are: an unfinished or damaged folder, a README.md that names no licence (`weightlens
    card DIR` writes one), and files with a token or key in them. Only what belongs to a model is
    sent; --dry-run lists what stays. Afterwards sizes and hashes on the Hub are compared with those
    here. Where the network is lost on the way, the same command goes on.
    """
    screen.check_target(json)
    from weightlens.hub.bars import bars_on_terminals
    from weightlens.publish.pushing import plan_push
    from weightlens.publish.pushing import push as send
    from weightlens.publish.tables import push_tables

    with screen.bytes_bar() as bar, bars_on_terminals():
        task = bar.add_task("checking", total=None, visible=False)

        def show(done: int, total: int, name: str) -> None:
            # the client draws bars of its own as soon as all is checked
            bar.update(task, completed=done, total=total, visible=done < total)

        report = (plan_push if dry_run else send)(
            folder,
            repo,
            revision=revision,
            private=private,
            create_pr=create_pr,
            prune=prune,
            message=message,
            progress=show,
        )
    if json is not None:
        screen.write_text(report.to_json(), json)
    if json != "-":
        screen.console().print(*push_tables(report), sep="\n", soft_wrap=True)
