"""Before the work: every recipe of a file planned from headers, and what a dry run tells of it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import torch

from weightlens.checkpoint.adapter import is_adapter
from weightlens.checkpoint.chat import vocabulary
from weightlens.checkpoint.companions import copy_companions
from weightlens.checkpoint.layout import DTYPE_NAMES, TensorInfo
from weightlens.checkpoint.remote import RemoteTensors
from weightlens.checkpoint.shards import plan_shards
from weightlens.checkpoint.speech import contradiction, differences, speech_of
from weightlens.errors import RecipeError, TensorMissing, UnsupportedTensor
from weightlens.hub import peek
from weightlens.merge.adapter_plan import check_adapter_recipe
from weightlens.merge.documents import Documents
from weightlens.merge.job import Source
from weightlens.merge.opening import (
    HERE,
    Located,
    Look,
    check_places,
    look_up,
    open_sources,
    placeable,
)
from weightlens.merge.plan import Plan, make_plan
from weightlens.merge.record import PlanReport
from weightlens.merge.resolution import Resolution
from weightlens.merge.tokens import Words, words_of
from weightlens.merge.work import worker_count

Engine = Literal["weightlens", "mergekit"]


@dataclass(frozen=True)
class Prepared:
    """One recipe, ready to be carried out. plan: None where mergekit's engine will; reasons: why it
    has to; draft: then the plan as far as tokens do not matter. warnings: of the recipe, and what
    its sources say differently."""

    resolution: Resolution
    located: Located
    words: Words
    plan: Plan | None
    reasons: tuple[str, ...]
    warnings: tuple[str, ...]
    draft: Plan | None = None

    @property
    def engine(self) -> Engine:
        """Which engine carries it out."""
        return "weightlens" if self.plan is not None else "mergekit"

    def copy_beside(self, plan: Plan, out: Path) -> None:
        """Puts what lies beside the weights into the output's folder."""
        donor = self.words.donor
        copy_companions(
            self.located.models[plan.home.label].path,
            out,
            dtype=self.resolution.recipe.write_dtype or commonest_dtype(plan.infos.values()),
            changes=plan.config,
            tokenizer=self.located.models[donor].path if donor else None,
            chat_template=self.words.template,
        )


def prepare(resolution: Resolution, located: Located, *, engine: Engine | None = None) -> Prepared:
    """Plans a recipe whose models have been found. engine: which to take; None for ours wherever it
    can. Raises InputError and its kinds for whatever can be known to be wrong."""
    words = words_of(resolution, located)
    reasons = (*words.alignment, *several_modules(resolution))
    if engine == "mergekit":
        reasons = ("asked for", *reasons)
    if reasons and engine == "weightlens":
        raise RecipeError(f"{resolution.written.name}: only mergekit's engine can do this: "
                          f"{'; '.join(reasons)}")  # fmt: skip
    if reasons:
        _check_mergekit_can(resolution, reasons)
        mergekit_folders(resolution, located)
    sources = _opened(resolution, located, engine)
    plan = None if reasons else make_plan(resolution, sources, words)
    # whoever asks for mergekit wants its rules; and only it knows the tensors of modules
    known = plan is None and engine is None and reasons == words.alignment
    draft = _draft(resolution, sources) if known else None
    warnings = (
        *resolution.warnings,
        *_token_warnings(plan, located, words),
        *_speech_warnings(resolution, located, words, copied=plan is not None),
    )
    return Prepared(resolution, located, words, plan, reasons, warnings, draft)


def mergekit_folders(resolution: Resolution, located: Located) -> dict[str, str]:
    """Where mergekit finds each model: FOLDER or FOLDER+ADAPTER, absolute; of an adapter alone, on
    the recipe's base. Raises RecipeError for more than one adapter on a model."""
    base = resolution.recipe.base_model
    found = {}
    for name, at in located.models.items():
        alone = base is not None and is_adapter(at.path)
        below = located.models[base].folders if alone and base is not None else ()
        folders = [*below, *at.folders]
        if len(folders) > 2:
            raise RecipeError(f"{name}: mergekit's engine puts one adapter on a model, not "
                              f"{len(folders) - 1}; merge them first")  # fmt: skip
        found[name] = "+".join(str(folder.resolve()) for folder in folders)
    return found


def _opened(
    resolution: Resolution, located: Located, engine: Engine | None
) -> Mapping[str, Source]:
    try:
        return open_sources(resolution, located)
    except UnsupportedTensor:
        if engine != "mergekit":
            raise
        return {}  # an adapter that PEFT understands, say


def _draft(resolution: Resolution, sources: Mapping[str, Source]) -> Plan:
    """The plan whatever the vocabularies: with the rows of embeddings that all have."""
    plain = resolution.recipe.model_copy(update={"embeddings": "common"})
    try:
        return make_plan(replace(resolution, recipe=plain), sources)
    except TensorMissing as error:
        raise TensorMissing(f"{error}; --engine mergekit goes by its own rules") from error


def prepare_all(
    documents: Documents,
    *,
    engine: Engine | None = None,
    look: Look = peek,
    places: Mapping[str, str] = HERE,
) -> list[Prepared]:
    """Plans all recipes of a file, in the order of the work. Of those that are to come, later ones
    see the headers, and what will lie beside the weights. places: where models are to be had from,
    by name. Raises like `prepare`."""
    recipes = [*documents.steps.values(), documents.last]
    check_places(places, placeable(recipes, documents.steps))
    prepared: list[Prepared] = []
    known: dict[str, Path] = {}
    ahead: dict[Path, RemoteTensors] = {}
    with TemporaryDirectory(prefix="weightlens-") as beside:
        for name, resolution in [*documents.steps.items(), ("", documents.last)]:
            if resolution.recipe.output == "adapter":
                check_adapter_recipe(resolution, known)
            found = look_up(resolution, known, look=look, places=places, others=documents.unused)
            located = replace(found, remote={**found.remote, **ahead})
            prepared.append(prepare(resolution, located, engine=engine))
            if name:
                plan = _own_plan(name, prepared[-1])
                folder = known[name] = Path(beside, name)
                folder.mkdir()
                prepared[-1].copy_beside(plan, folder)
                ahead[folder] = {
                    job.name: (DTYPE_NAMES[job.info.dtype], job.info.shape, name)
                    for job in plan.jobs
                }
    return prepared


def _own_plan(name: str, step: Prepared) -> Plan:
    if step.plan is None:
        raise RecipeError(f"{step.resolution.written.name}: {name}: a step of several recipes runs "
                          f"on our own engine, but {'; '.join(step.reasons)}")  # fmt: skip
    if step.plan.adapter is not None:
        message = "adapter: other recipes build on this one, and need a model"
        raise step.resolution.written.error(("output",), message)
    return step.plan


def commonest_dtype(infos: Iterable[TensorInfo]) -> torch.dtype | None:
    """That of most entries, by which loaders go that read a model in one dtype; None without any
    numbers that could be read so."""
    entries: dict[torch.dtype, int] = {}
    for info in infos:
        if info.dtype.is_floating_point and info.dtype.itemsize > 1:
            entries[info.dtype] = entries.get(info.dtype, 0) + info.entries
    return max(entries, key=entries.__getitem__, default=None)


def report_of(prepared: Prepared, *, workers: int | None = None) -> PlanReport:
    """What a dry run tells."""
    plan, located = prepared.plan, prepared.located
    known = plan or prepared.draft
    count = worker_count(workers)
    kinds: dict[str, int] = {}
    for job in plan.jobs if plan else ():
        kind = job.kind if job.kind != "stream" else job.method.passes
        kinds[kind] = kinds.get(kind, 0) + 1
    shards = len(plan_shards(plan.infos)) if plan else None
    tensors = len(known.jobs) if known else None
    if plan is not None and plan.adapter is not None:
        kinds, shards, tensors = plan.adapter.kinds, 1, plan.adapter.tensors
    return PlanReport(
        engine=prepared.engine,
        reasons=list(prepared.reasons),
        method=prepared.resolution.recipe.merge_method,
        base=prepared.resolution.recipe.base_model,
        sources=list(prepared.resolution.sources),
        tensors=tensors,
        kinds=kinds,
        shards=shards,
        bytes_read=known.bytes_read if known else None,
        bytes_written=plan.bytes_written if plan else None,
        bytes_to_download=located.missing,
        peak_memory=plan.peak_memory(count) if plan else None,
        workers=count,
        warnings=list(prepared.warnings),
    )


def several_modules(resolution: Resolution) -> tuple[str, ...]:
    """Why a recipe of several modules is mergekit's; empty for others."""
    modules = dict.fromkeys(g.module for g in resolution.groups if g.module is not None)
    if len(modules) < 2:
        return ()
    return (f"which tensors the modules {', '.join(modules)} hold is known to mergekit",)


def _check_mergekit_can(resolution: Resolution, reasons: tuple[str, ...]) -> None:
    """Raises RecipeError for what only our engine does."""
    ours = []
    if resolution.transforms:
        ours.append("strip and transforms")
    if resolution.recipe.output == "adapter":
        ours.append("output: adapter")
    if ours:
        raise RecipeError(
            f"{resolution.written.name}: mergekit's engine knows no {' and no '.join(ours)}, but "
            f"has to run this ({'; '.join(reasons)})"
        )


def _token_warnings(plan: Plan | None, located: Located, words: Words) -> list[str]:
    """Of tokens that embeddings have lost the rows of."""
    rows = plan.config.get("vocab_size") if plan is not None else None
    if plan is None or not isinstance(rows, int):  # a list: layer by layer
        return []
    named = words.donor or plan.home.label
    last = max((vocabulary(located.models[named].path) or {}).values(), default=-1)
    if last < rows:
        return []
    return [
        f"the tokenizer of {named} has tokens up to number {last}, but the embeddings {rows} rows: "
        "a text with one of the others will fail; embeddings: base keeps the base's rows"
    ]


def _speech_warnings(
    resolution: Resolution, located: Located, words: Words, *, copied: bool
) -> list[str]:
    """What the merge will say otherwise than its sources of chat, end of text and generation.
    copied: whether what lies beside the weights is copied, by our own engine."""
    speeches = {name: speech_of(name, at.path) for name, at in located.models.items()}
    merge = speeches[next(iter(located.models))]
    if words.donor is not None:
        merge = merge.with_words(speeches[words.donor])
    if words.template is not None:
        merge = merge.with_template(words.template)
    if not copied:
        merge = merge.without_generation()
    found = [said for name in resolution.sources for said in differences(merge, speeches[name])]
    if words.donor not in (None, merge.label):
        known = vocabulary(located.models[words.donor].path) or {}
        found += [said] if (said := contradiction(merge, known)) else []
    return found
