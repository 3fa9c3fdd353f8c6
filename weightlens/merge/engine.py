"""The engine: carries out a recipe, tensor by tensor, into a folder or into a state dict."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from weightlens.checkpoint.companions import content_hash, copy_companions
from weightlens.checkpoint.write import PROVENANCE_FILE, CheckpointWriter, check_output
from weightlens.factors import FactorCache
from weightlens.hub import Resolved
from weightlens.merge.identity import plan_hash
from weightlens.merge.jobs import Job
from weightlens.merge.opening import Located, hold_sources, locate, open_sources
from weightlens.merge.plan import Plan, check_space, make_plan
from weightlens.merge.record import MatrixRecord, MergeReport, SourceRecord
from weightlens.merge.resolution import Resolution, read_recipe
from weightlens.merge.running import Progress, Run
from weightlens.version import VERSION


def run_merge(
    recipe: Path | Resolution,
    out: Path,
    *,
    seed: int = 0,
    overwrite: bool = False,
    fresh: bool = False,
    verify: bool = False,
    cache: FactorCache | None = None,
    workers: int | None = None,
    progress: Progress = lambda done, total, name: None,
) -> MergeReport:
    """Merges into a folder that is whole or absent; returns what was measured.

    The recipe, the sources and their hashes, the seed and the record of every stripped matrix are
    written beside the weights as weightlens.json. A run that was killed or interrupted, or found
    the disk full, leaves OUT.partial, and the same call goes on from there. fresh: start anew all
    the same. verify: read every tensor back before the output gets its name. cache: where
    factorisations of the base are kept and found again. workers: threads that merge tensors side
    by side; the bytes do not depend on it. Raises InputError and its kinds.
    """
    resolution = read_recipe(recipe) if isinstance(recipe, Path) else recipe
    check_output(out, overwrite=overwrite)
    located = locate(resolution)
    check_output(out, overwrite=overwrite, sources=located.folders)
    plan = make_plan(resolution, open_sources(resolution, located))
    check_space(plan, out)
    run = Run(plan, seed, cache=cache, workers=workers)
    key = plan_hash(plan, list(located.models.values()), seed=seed)
    with CheckpointWriter(out, plan.infos, overwrite=overwrite, plan=key, fresh=fresh) as writer:
        run.write(writer, progress)
        if verify:
            writer.verify()
        home = located.models[plan.home.label].path
        copy_companions(
            home, writer.folder, dtype=resolution.recipe.write_dtype, changes=plan.config
        )
        report = _report(plan, located, run, key)
        (writer.folder / PROVENANCE_FILE).write_text(report.to_json(), encoding="utf-8")
    return report


def merge_state_dicts(
    resolution: Resolution,
    models: Mapping[str, Mapping[str, Tensor]],
    *,
    seed: int = 0,
    workers: int | None = None,
) -> tuple[dict[str, Tensor], list[MatrixRecord]]:
    """Merges state dicts in memory: the names in the recipe are the keys of `models`.

    Returns the merged tensors and the records of the stripped matrices. Raises like `run_merge`.
    """
    plan = make_plan(resolution, hold_sources(resolution, models))
    run = Run(plan, seed, workers=workers)
    merged = {job.name: torch.empty(job.info.shape, dtype=job.info.dtype) for job in plan.jobs}

    def fill(job: Job) -> None:
        entries = merged[job.name].view(-1)
        for start, block in run.blocks(job):
            entries[start : start + block.numel()] = block

    run.each(plan.jobs, fill, lambda done, total, name: None)
    return merged, run.records


def _report(plan: Plan, located: Located, run: Run, key: str) -> MergeReport:
    resolution = plan.resolution
    named = resolution.recipe.base_model
    return MergeReport(
        weightlens=VERSION,
        torch=torch.__version__,
        recipe=resolution.text,
        base=None if named is None else _source_record(located.models[named]),
        sources=[_source_record(located.models[name]) for name in resolution.sources],
        seed=run.seed,
        plan=key,
        warnings=list(resolution.warnings),
        tensors=len(plan.jobs),
        bytes=plan.bytes_written,
        matrices=run.records,
    )


def _source_record(at: Resolved) -> SourceRecord:
    commits = [commit or "local" for commit in at.commits]
    return SourceRecord(
        model=at.label,
        commit="+".join(commits) if any(at.commits) else None,
        hash="+".join(content_hash(folder) for folder in at.folders),
    )
