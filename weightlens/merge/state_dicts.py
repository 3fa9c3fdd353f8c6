"""Merging state dicts in memory: weights can be swept without touching the disk."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from weightlens.errors import RecipeError
from weightlens.merge.job import Job
from weightlens.merge.opening import hold_sources
from weightlens.merge.plan import make_plan
from weightlens.merge.preparing import several_modules
from weightlens.merge.record import MatrixRecord
from weightlens.merge.resolution import Resolution
from weightlens.merge.running import Run, WrittenBlock
from weightlens.merge.work import Tell, Threads


def merge_state_dicts(
    resolution: Resolution,
    models: Mapping[str, Mapping[str, Tensor]],
    *,
    seed: int = 0,
    workers: int | None = None,
) -> tuple[dict[str, Tensor], list[MatrixRecord]]:
    """Merges state dicts in memory: the names in the recipe are the keys of `models`.

    Returns the merged tensors and the records of the stripped matrices. Raises like `run_merge`,
    and RecipeError for what needs tokenizers, or mergekit's engine.
    """
    recipe = resolution.recipe
    if recipe.wanted_tokenizer is not None or recipe.embeddings == "tokenizer":
        raise RecipeError(f"{resolution.written.name}: state dicts have no tokenizer; leave out "
                          "tokenizer, tokenizer_source and embeddings: tokenizer")  # fmt: skip
    if modules := several_modules(resolution):
        raise RecipeError(f"{resolution.written.name}: not of state dicts: {modules[0]}")
    plan = make_plan(resolution, hold_sources(resolution, models))
    run = Run(plan, seed)
    merged = {job.name: torch.empty(job.info.shape, dtype=job.info.dtype) for job in plan.jobs}

    def fill(job: Job, blocks: Iterable[WrittenBlock], tell: Tell) -> None:
        entries = merged[job.name].view(-1)
        for start, block in blocks:
            entries[start : start + block.numel()] = block

    run.each(plan.jobs, Threads(workers), fill, lambda job, _: None)
    return merged, run.records
