"""The engine: carries out a recipe, tensor by tensor, into a folder."""

import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import torch
from pydantic import ValidationError

from weightlens.checkpoint.digests import NOTHING_READ, Piece, ReadDigests, content_hash
from weightlens.checkpoint.output import PROVENANCE_FILE, check_output
from weightlens.checkpoint.partial import settle
from weightlens.checkpoint.write import CheckpointWriter
from weightlens.device import named_device
from weightlens.factors import FactorCache
from weightlens.merge.adapter_output import merge_adapters
from weightlens.merge.bridged import run_bridged
from weightlens.merge.documents import Documents
from weightlens.merge.foresight import StrPath, check_outputs, documents_of
from weightlens.merge.identity import plan_hash
from weightlens.merge.opening import HERE, Located, fetch, peek_or_download
from weightlens.merge.options import Options
from weightlens.merge.plan import Plan, check_space
from weightlens.merge.preparing import Engine, Prepared, prepare, prepare_all
from weightlens.merge.provenance import source_record
from weightlens.merge.record import MergeReport, SourceRecord
from weightlens.merge.resolution import Resolution
from weightlens.merge.running import Progress, Run
from weightlens.merge.steps import held_steps, step_folders
from weightlens.merge.writing import Writing
from weightlens.version import VERSION


def run_merge(
    recipe: StrPath | Resolution | Documents,
    out: StrPath,
    *,
    seed: int = 0,
    overwrite: bool = False,
    fresh: bool = False,
    verify: bool = False,
    sync: bool = True,
    lenient: bool = False,
    engine: Engine | None = None,
    places: Mapping[str, str] = HERE,
    cache: FactorCache | None = None,
    workers: int | None = None,
    device: str = "cpu",
    progress: Progress = lambda done, total, name: None,
) -> MergeReport:
    """Merges into a folder that is whole or absent; returns what was measured.

    The recipe, the sources and their hashes, the seed and the record of every stripped matrix are
    written beside the weights as weightlens.json. A run that was killed or interrupted, or found
    the disk full, leaves OUT.partial, and the same call goes on from there. fresh: start anew all
    the same. verify: read every tensor back before the output gets its name. sync: wait until it is
    on the disk before; without, a loss of power can damage it, a kill cannot. lenient: unknown keys
    in the recipe are warnings. engine: ours wherever it can, unless one is named. places: where
    models are to be had from, by what the recipe calls them, if not by that name. cache: where
    factorisations of the base are kept and found again. workers: how many tensors are merged side
    by side, each by a process that is forked from this one where that has no other threads, else by
    a thread; the bytes do not depend on it. device: where matrices are factorised and stripped, and
    mergekit's engine works (CUDA untested). Raises InputError and its kinds.

    A file of several recipes is carried out step by step, the results of all but the last in
    OUT.steps, which goes when the last is done.
    """
    options = Options(
        seed=seed,
        overwrite=overwrite,
        fresh=fresh,
        verify=verify,
        sync=sync,
        cache=cache,
        workers=workers,
        engine=engine,
        places=places,
        progress=progress,
        device=named_device(device),
    )
    return merge_documents(documents_of(recipe, lenient=lenient), Path(out), options)


def merge_documents(documents: Documents, out: Path, options: Options) -> MergeReport:
    """`run_merge` of recipes that have been read."""
    settle(out)
    check_output(out, overwrite=options.overwrite)
    folders = step_folders(documents, out)
    prepared = prepare_all(
        documents, engine=options.engine, look=peek_or_download, places=options.places
    )
    check_outputs(prepared, [*folders.values(), out], overwrite=options.overwrite)
    with held_steps(folders, out):
        for (name, folder), step in zip(folders.items(), prepared, strict=False):
            options = options.after(name, _step(step, folder, options), folder)
        return _carry_out(prepared[-1], out, options)


def _step(prepared: Prepared, out: Path, options: Options) -> MergeReport:
    """Makes the result of a recipe that others need, unless an earlier run has."""
    done: MergeReport | None = None
    with suppress(OSError, ValidationError):
        text = (out / PROVENANCE_FILE).read_text(encoding="utf-8")
        done = MergeReport.model_validate_json(text)
    ready = _fetched(prepared, options)
    assert ready.plan is not None, "prepare_all lets no other pass"
    found = list(ready.located.models.values())
    key = plan_hash(ready.plan, found, seed=options.seed, device=options.device)
    if done is not None and done.plan == key and not options.fresh:
        return done
    shutil.rmtree(out, ignore_errors=True)
    return _run(ready, ready.plan, out, options)


def _carry_out(prepared: Prepared, out: Path, options: Options) -> MergeReport:
    ready = _fetched(prepared, options)
    check_output(out, overwrite=options.overwrite, sources=ready.located.folders)
    if ready.plan is None:
        return _run_bridged(ready, out, options)
    return _run(ready, ready.plan, out, options)


def _fetched(prepared: Prepared, options: Options) -> Prepared:
    """The same recipe with all weights on this machine."""
    located = prepared.located
    if not located.remote:
        return prepared
    found = fetch(located, options.folders, options.places)
    return prepare(prepared.resolution, found, engine=options.engine)


def _run(ready: Prepared, plan: Plan, out: Path, options: Options) -> MergeReport:
    located = ready.located
    check_space({out: plan.bytes_written})
    if plan.adapter is not None:
        return _run_adapter(ready, plan, out, options)
    run = Run(plan, options.seed, cache=options.cache, device=options.device)
    found = list(located.models.values())
    key = plan_hash(plan, found, seed=options.seed, device=options.device)
    digests = ReadDigests()
    for source in plan.sources.values():
        source.weights.digests = digests
    with CheckpointWriter(
        out,
        plan.infos,
        overwrite=options.overwrite,
        plan=key,
        fresh=options.fresh,
        sync=options.sync,
    ) as writer:
        Writing(run, writer, digests, options.workers).write(
            options.progress, options.idle, options.alone
        )
        if options.verify:
            writer.verify()
        ready.copy_beside(plan, writer.folder)
        records = _records(located, digests.known)
        report = _report(
            ready, options, key, records, tensors=len(plan.jobs), size=plan.bytes_written
        )
        measured = {"matrices": run.records, "checksums": writer.checksums}
        report = report.model_copy(update=measured)
        (writer.folder / PROVENANCE_FILE).write_text(report.to_json(), encoding="utf-8")
    return report


def _run_adapter(ready: Prepared, plan: Plan, out: Path, options: Options) -> MergeReport:
    located = ready.located
    found = list(located.models.values())
    key = plan_hash(plan, found, seed=options.seed, device=options.device)

    def written(tensors: int, size: int) -> MergeReport:
        records = _records(located)
        return _report(ready, options, key, records, tensors=tensors, size=size)

    return merge_adapters(
        plan,
        out,
        base=located.models[plan.home.label],
        report=written,
        seed=options.seed,
        overwrite=options.overwrite,
        fresh=options.fresh,
        verify=options.verify,
        cache=options.cache,
        device=options.device,
        progress=options.progress,
    )


def _run_bridged(ready: Prepared, out: Path, options: Options) -> MergeReport:
    options.alone()

    def written(tensors: int, size: int) -> MergeReport:
        records = _records(ready.located)
        return _report(ready, options, None, records, tensors=tensors, size=size)

    return run_bridged(
        ready,
        out,
        seed=options.seed,
        overwrite=options.overwrite,
        fresh=options.fresh,
        verify=options.verify,
        device=str(options.device),
        progress=options.progress,
        report=written,
    )


def _report(
    ready: Prepared,
    options: Options,
    key: str | None,
    records: Mapping[str, SourceRecord],
    *,
    tensors: int,
    size: int,
) -> MergeReport:
    named, sources = ready.resolution.recipe.base_model, ready.resolution.sources
    return MergeReport(
        weightlens=VERSION,
        torch=torch.__version__,
        engine=ready.engine,
        recipe=ready.resolution.text,
        base=None if named is None else records[named],
        sources=[records[name] for name in sources],
        others=[record for name, record in records.items() if name not in (named, *sources)],
        seed=options.seed,
        device=options.device.type,
        plan=key,
        warnings=list(ready.warnings),
        tensors=tensors,
        bytes=size,
        matrices=[],
        steps=dict(options.steps),
    )


def _records(
    located: Located, known: Mapping[Piece, bytes] = NOTHING_READ
) -> dict[str, SourceRecord]:
    """Of every model, with the hashes of its files. known: of what the merge has read."""
    folders = dict.fromkeys(located.folders)
    hashes = {folder: content_hash(folder, known) for folder in folders}
    return {name: source_record(at, hashes.__getitem__) for name, at in located.models.items()}
