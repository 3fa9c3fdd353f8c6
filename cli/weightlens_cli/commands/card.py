"""`weightlens card`: the model card of a merge or an adapter."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from weightlens_cli import screen


def card(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Output of weightlens merge or extract.")
    ],
    evaluation: Annotated[
        list[Path] | None,
        typer.Option(
            "--eval", help="Results of weightlens eval that hold it: a file or --out; repeatable."
        ),
    ] = None,
    overlap: Annotated[
        list[Path] | None,
        typer.Option(help="A --json of weightlens overlap that holds it; repeatable."),
    ] = None,
    license: Annotated[
        str | None,
        typer.Option(help="Licence by the Hub's identifier; that of the sources unless given."),
    ] = None,
    license_name: Annotated[
        str | None, typer.Option(help="Of a licence that the Hub has no identifier for.")
    ] = None,
    license_link: Annotated[
        str | None, typer.Option(help="Of such a licence: an address, or a file in DIR.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="What the card calls the model.")] = None,
    repo: Annotated[
        str | None, typer.Option(metavar="OWNER/NAME", help="Where it will lie on the Hub.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Write over a card that was edited.")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Check the card that is there, and write nothing.")
    ] = False,
    json: Annotated[
        str | None, typer.Option(help="Write licence, warnings and problems as JSON, or - .")
    ] = None,
) -> None:
    """Write DIR/README.md: what went in, what came out, how good it is, how to use it.

    Scores, overlaps, recipe and hashes come from the record beside the weights and from the results
    that are named; metadata for the Hub stands on top. Nothing is uploaded. A card that was edited
    is not overwritten without asking. Exit code 1: --check found problems.
    """
    screen.check_target(json)
    from weightlens.errors import CheckFailed, InputError
    from weightlens.report.card import draft_card, in_the_way, save_card
    from weightlens.report.card_check import CardReport, check_card
    from weightlens.report.licences import given

    if check:
        report = CardReport(card=str(folder / "README.md"), problems=check_card(folder))
    else:
        if license is None and (license_name or license_link):
            raise InputError("--license-name and --license-link go with --license other")
        chosen = None if license is None else given(license, license_name, license_link)
        draft = draft_card(
            folder,
            results=[*(evaluation or []), *(overlap or [])],
            licence=chosen,
            title=name,
            repo=repo,
        )
        reason = None if force else in_the_way(folder)
        force = force or (reason is not None and _agreed(reason))
        written = save_card(folder, draft, force=force)
        report = CardReport(
            card=str(written),
            licence=str(draft.licence),
            warnings=list(draft.warnings),
            problems=check_card(folder),
        )
    if json is not None:
        screen.write_text(report.to_json(), json)
    if json != "-":
        screen.console().print(*report.lines(written=not check), sep="\n", soft_wrap=True)
    if check and report.problems:
        raise CheckFailed(f"{len(report.problems)} problems in the card of {folder}")


def _agreed(reason: str) -> bool:
    """Whether the user, where there is one to ask, wants it overwritten."""
    if not sys.stdin.isatty():
        return False
    return typer.confirm(f"{reason}. Write over it?", err=True)
