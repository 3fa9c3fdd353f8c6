"""What a merge would do, and what can be known to be wrong with it, before a weight is read."""

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path

from weightlens.checkpoint.output import PROVENANCE_FILE, check_output
from weightlens.checkpoint.partial import unfinished
from weightlens.device import named_device
from weightlens.merge.documents import Documents, read_documents
from weightlens.merge.identity import plan_hash
from weightlens.merge.opening import HERE
from weightlens.merge.options import Options
from weightlens.merge.plan import check_space
from weightlens.merge.preparing import Engine, Prepared, prepare_all, report_of
from weightlens.merge.record import PlanReport
from weightlens.merge.resolution import Resolution
from weightlens.merge.steps import step_folders

StrPath = str | PathLike[str]


def plan_merge(
    recipe: StrPath | Resolution | Documents,
    out: StrPath | None = None,
    *,
    seed: int = 0,
    overwrite: bool = False,
    fresh: bool = False,
    lenient: bool = False,
    engine: Engine | None = None,
    places: Mapping[str, str] = HERE,
    workers: int | None = None,
    device: str = "cpu",
) -> list[PlanReport]:
    """What `run_merge` would do, from headers alone: one report for each recipe of the file.

    Raises InputError and its kinds for whatever can be known to be wrong before weights are read;
    of the output where one is named.
    """
    options = Options(
        seed=seed,
        overwrite=overwrite,
        fresh=fresh,
        engine=engine,
        places=places,
        workers=workers,
        device=named_device(device),
    )
    return plan_documents(
        documents_of(recipe, lenient=lenient), None if out is None else Path(out), options
    )


def plan_documents(documents: Documents, out: Path | None, options: Options) -> list[PlanReport]:
    """`plan_merge` of recipes that have been read."""
    prepared = prepare_all(documents, engine=options.engine, places=options.places)
    reports = [report_of(each, workers=options.workers) for each in prepared]
    if out is None:
        return reports
    check_output(out, overwrite=options.overwrite)
    places = [*step_folders(documents, out).values(), out]
    check_outputs(prepared, places, overwrite=options.overwrite)
    return [
        report.model_copy(update={"finished": _finished(each, place, options)})
        for each, place, report in zip(prepared, places, reports, strict=True)
    ]


def documents_of(recipe: StrPath | Resolution | Documents, *, lenient: bool) -> Documents:
    """The recipes of a file, if need be. Raises RecipeError."""
    if isinstance(recipe, Documents):
        return recipe
    if isinstance(recipe, Resolution):
        return Documents({}, recipe)
    return read_documents(Path(recipe), lenient=lenient)


def check_outputs(prepared: Sequence[Prepared], places: Sequence[Path], *, overwrite: bool) -> None:
    """Before the first step: that no source is overwritten, and that there is room. places: where
    the results go; what an earlier run has made takes no more room. Raises OutputError."""
    sources = [folder for each in prepared for folder in each.located.folders]
    check_output(places[-1], overwrite=overwrite, sources=sources)
    needs = {}
    for each, place in zip(prepared, places, strict=True):
        made = place != places[-1] and (place / PROVENANCE_FILE).exists()
        if each.plan is not None and not made:
            needs[place] = each.plan.bytes_written
    check_space(needs)


def _finished(prepared: Prepared, out: Path, options: Options) -> int:
    """How many tensors an earlier run has left. Raises OutputError for those of another plan."""
    plan, located = prepared.plan, prepared.located
    if located.remote:
        return 0  # what the plan is known by is known once they are here
    key = None
    if plan is not None and plan.adapter is None:
        found = list(located.models.values())
        key = plan_hash(plan, found, seed=options.seed, device=options.device)
    return unfinished(out, key, overwrite=options.overwrite, fresh=options.fresh)
