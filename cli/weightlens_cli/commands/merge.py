"""`weightlens merge`: carries out a recipe."""

from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from weightlens_cli import screen
from weightlens_cli.caching import NoCache, chosen_cache
from weightlens_cli.places import named_places
from weightlens_cli.publishing import publish

if TYPE_CHECKING:
    from weightlens.merge.options import Options
    from weightlens.merge.preparing import Engine
    from weightlens.merge.record import MergeReport, PlanReport


class EngineName(StrEnum):
    """Who carries a recipe out."""

    auto = "auto"
    weightlens = "weightlens"
    mergekit = "mergekit"

    @property
    def chosen(self) -> "Engine | None":
        """As the library has it; None leaves the choice to the plan."""
        named: dict[str, Engine] = {"weightlens": "weightlens", "mergekit": "mergekit"}
        return named.get(self.value)


def merge(
    recipe: Annotated[
        Path, typer.Argument(help="Recipe file (YAML), or a weightlens.json to merge by again.")
    ],
    out: Annotated[Path | None, typer.Argument(help="Output folder; must be new or empty.")] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Print the plan and every error and warning; write nothing."
        ),
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of random draws and random subspaces.")] = 0,
    source: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=MODEL",
            help="Where a model of the recipe is to be had from, if not by that name.",
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace OUT once the new merge is whole.")
    ] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Do not go on from what an earlier run left.")
    ] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read every tensor back before OUT gets its name.")
    ] = False,
    no_sync: Annotated[
        bool,
        typer.Option(
            "--no-sync",
            help="Do not wait for the disk: safe against kills all the same, "
            "not against a loss of power.",
        ),
    ] = False,
    lenient: Annotated[
        bool, typer.Option("--lenient", help="Unknown keys in the recipe are warnings, not errors.")
    ] = False,
    engine: Annotated[
        EngineName, typer.Option(help="auto: mergekit's own only where it has to be.")
    ] = EngineName.auto,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Tensors merged at a time, by our engine.")
    ] = None,
    device: Annotated[
        str,
        typer.Option(
            help="Where matrices are factorised and stripped: cpu, cuda, auto (CUDA untested)."
        ),
    ] = "cpu",
    no_cache: NoCache = False,
    push: Annotated[
        str | None,
        typer.Option(
            metavar="REPO", help="Publish OUT there, as `weightlens push` does; checked beforehand."
        ),
    ] = None,
    private: Annotated[
        bool, typer.Option("--private", help="Make that repo a private one, where it is made.")
    ] = False,
    json: Annotated[
        str | None, typer.Option(help="Write the merge's record as JSON to a file, or - .")
    ] = None,
) -> None:
    """Merge models as a recipe says, tensor by tensor.

    mergekit's recipes run unchanged. Everything goes into OUT.partial, which is renamed to OUT when
    it is whole. Where a run was interrupted or killed, the same command goes on from OUT.partial.
    The record of the merge (recipe, sources with hashes, overlaps before, after and as written)
    lies beside the weights as weightlens.json. With such a record in the place of the recipe the
    merge is made again, by its seed and the commits of its sources, and compared with it tensor by
    tensor: exit code 1 where one differs.
    """
    screen.check_target(json)
    from weightlens.device import named_device
    from weightlens.errors import OutputError
    from weightlens.merge.options import Options

    options = Options(
        seed=seed,
        overwrite=overwrite,
        fresh=fresh,
        verify=verify,
        sync=not no_sync,
        engine=engine.chosen,
        places=named_places(source or []),
        workers=workers,
        cache=chosen_cache(no_cache),
        device=named_device(device),
    )
    if push is not None:
        from weightlens.publish.pushing import check_destination

        check_destination(push, private=private)
    if dry_run:
        _show_plans(_plans(recipe, out, options, lenient), json)
        return
    if out is None:
        raise OutputError("OUT is missing: name a folder for the merge, or use --dry-run")
    _carry_out(recipe, out, options, lenient, json)
    if push is not None:
        _publish(out, push, private, quiet=json == "-")


def _plans(recipe: Path, out: Path | None, options: "Options", lenient: bool) -> "list[PlanReport]":
    from weightlens.merge.documents import read_documents
    from weightlens.merge.foresight import plan_documents
    from weightlens.merge.rebuilding import is_record, plan_rebuild

    if is_record(recipe):
        return plan_rebuild(recipe, out, options=options)
    return plan_documents(read_documents(recipe, lenient=lenient), out, options)


def _carry_out(
    recipe: Path, out: Path, options: "Options", lenient: bool, json: str | None
) -> None:
    from weightlens.merge.documents import read_documents
    from weightlens.merge.engine import merge_documents
    from weightlens.merge.rebuilding import is_record, rebuild_merge

    # a process with a thread to draw it could not be forked
    with screen.bytes_bar(thread=False) as bar:
        task = bar.add_task("merging", total=None)
        shown = replace(
            options,
            progress=lambda done, total, name: bar.update(
                task, completed=done, total=total, refresh=True
            ),
            idle=bar.refresh,
            alone=lambda: screen.draw_by_thread(bar),
        )
        again = is_record(recipe)
        if again:
            report = rebuild_merge(recipe, out, options=shown)
        else:
            report = merge_documents(read_documents(recipe, lenient=lenient), out, shown)
    _show_report(report, out, json, recipe if again else None)


def _show_plans(plans: "Sequence[PlanReport]", json: str | None) -> None:
    from weightlens.report.plan_tables import plan_tables

    if json is not None:
        screen.write_text("[" + ",\n".join(plan.to_json() for plan in plans) + "]\n", json)
    if json != "-":
        screen.console().print(*plan_tables(plans), sep="\n")


def _show_report(report: "MergeReport", out: Path, json: str | None, record: Path | None) -> None:
    """record: that by which the merge was made again, where it was."""
    from weightlens.report.merge_tables import merge_tables

    if json is not None:
        screen.write_text(report.to_json(), json)
    if json == "-":
        return
    screen.console().print(*merge_tables(report, out), sep="\n")
    if record is not None:
        screen.console().print(f"The same {len(report.checksums)} tensors as in {record}.")


def _publish(out: Path, repo: str, private: bool, *, quiet: bool) -> None:
    from weightlens.publish.tables import push_tables

    sent = publish(out, repo, private=private)
    if not quiet:
        screen.console().print(*push_tables(sent), sep="\n", soft_wrap=True)
