"""The engine: runs a plan, tensor by tensor, into a folder or into a state dict."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from weightlens.checkpoint.companions import content_hash, copy_companions
from weightlens.checkpoint.model import Model, open_model
from weightlens.checkpoint.names import place_of
from weightlens.checkpoint.read import MemoryWeights
from weightlens.checkpoint.selection import Selection
from weightlens.checkpoint.write import PROVENANCE_FILE, CheckpointWriter, check_output
from weightlens.delta import Delta, Dense
from weightlens.errors import InputError, NonFiniteTensor
from weightlens.factors import FactorCache
from weightlens.hub import Resolved
from weightlens.hub import resolve as resolve_model
from weightlens.merge.identity import plan_hash
from weightlens.merge.matrix import MatrixName, MatrixSurgery
from weightlens.merge.method import Pointwise
from weightlens.merge.plan import Job, Plan, check_space, make_plan
from weightlens.merge.record import MatrixRecord, MergeReport, SourceRecord
from weightlens.merge.resolution import Resolution, read_recipe
from weightlens.version import VERSION

BLOCK = 1 << 20
"""Entries that stream through memory at a time: they fit the processor's cache."""

Progress = Callable[[int, int, str], None]
"""Told the tensors done, their total, and the name of the one in hand."""


class Run:
    """One pass over a plan; collects the records of the matrices that it strips."""

    def __init__(self, plan: Plan, seed: int, cache: FactorCache | None = None) -> None:
        """seed: for random subspaces; cache: for the base's factorisations."""
        self.plan, self.seed, self.cache = plan, seed, cache
        self.records: list[MatrixRecord] = []

    def write(self, writer: CheckpointWriter, progress: Progress) -> None:
        """Writes the output of every job that no earlier run has finished."""
        total = len(self.plan.jobs)
        for done, job in enumerate(self.plan.jobs):
            progress(done, total, job.name)
            self._write(job, writer)
        progress(total, total, "")

    def _write(self, job: Job, writer: CheckpointWriter) -> None:
        if job.name in writer.finished:
            notes = writer.finished[job.name]
            self.records += [MatrixRecord.model_validate(note) for note in notes]
            return
        known = len(self.records)
        for start, block in self.blocks(job):
            writer.write(job.name, block, start=start)
        writer.finish(job.name, [record.model_dump() for record in self.records[known:]])

    def blocks(self, job: Job) -> Iterator[tuple[int, Shaped[Tensor, "..."]]]:
        """The output of a job in its final dtype: (position of the first entry, entries).

        Raises NonFiniteTensor where finite inputs come to NaN or Inf, as in an overflow of float16.
        """
        if job.kind == "copy":
            yield 0, self.plan.base.stored(job.name)
            return
        for start, block in self._computed(job):
            if not torch.isfinite(block).all():
                raise NonFiniteTensor(
                    f"{job.name}: the merge holds numbers beyond {job.info.dtype}; "
                    "choose a wider out_dtype or smaller weights"
                )
            yield start, block

    def _computed(self, job: Job) -> Iterator[tuple[int, Shaped[Tensor, "..."]]]:
        if job.kind == "stream":
            for start in range(0, job.info.entries, BLOCK):
                stop = min(start + BLOCK, job.info.entries)
                yield start, self._streamed(job, start, stop).to(job.info.dtype)
        else:
            yield 0, self._whole(job)

    def _streamed(self, job: Job, start: int, stop: int) -> Float[Tensor, "block"]:
        method = self.plan.method
        assert isinstance(method, Pointwise)
        blocks = [self._source_block(s, job.name, start, stop) for s in self.plan.sources]
        if method.space == "weights":
            return method.combine(blocks)
        base = self.plan.base.read_block(job.name, start, stop)
        return base + method.combine([block - base for block in blocks])

    def _source_block(
        self, source: Model, name: str, start: int, stop: int
    ) -> Float[Tensor, "block"]:
        if name in source.adapters.replaced:
            return source.tensor(name, self.plan.base).flatten()[start:stop]
        return (source.weights or self.plan.base).read_block(name, start, stop)

    def _whole(self, job: Job) -> Shaped[Tensor, "..."]:
        base = self.plan.base.read(job.name)
        if self.plan.method.space == "weights":
            tensors = [s.tensor(job.name, self.plan.base) for s in self.plan.sources]
            return self._combined(tensors).to(job.info.dtype)
        if base.ndim == 2:
            deltas = [
                s.delta(job.name, self.plan.base, base) or Dense(torch.zeros_like(base))
                for s in self.plan.sources
            ]
            return self._merged_matrix(job, None, base, deltas)
        tensors = [s.tensor(job.name, self.plan.base) for s in self.plan.sources]
        return torch.stack([
            self._merged_matrix(job, e, base[e], [Dense(t[e] - base[e]) for t in tensors])
            for e in range(base.shape[0])
        ])  # fmt: skip

    def _merged_matrix(
        self, job: Job, expert: int | None, base: Float[Tensor, "m n"], deltas: list[Delta]
    ) -> Shaped[Tensor, "m n"]:
        if not job.transforms:
            return (base + self._combined([d.dense() for d in deltas])).to(job.info.dtype)
        turned = job.name in self.plan.base.transposed
        if turned:
            base, deltas = base.T, [delta.transposed() for delta in deltas]
        place = place_of(job.name)
        name = MatrixName(job.name, place.expert if expert is None else expert, place)
        surgery = MatrixSurgery(name, base, job.transforms, seed=self.seed, cache=self.cache)
        stripped = [
            surgery.stripped(source.label, delta)
            for source, delta in zip(self.plan.sources, deltas, strict=True)
        ]
        merged = self._combined([delta.dense() for delta in stripped])
        written = (base + merged).to(job.info.dtype)
        self.records.append(surgery.record(merged, written.float() - base))
        return written.T.contiguous() if turned else written

    def _combined(self, tensors: list[Float[Tensor, "..."]]) -> Float[Tensor, "..."]:
        method = self.plan.method
        assert isinstance(method, Pointwise)
        return method.combine(tensors)


def run_merge(
    recipe: Path | Resolution,
    out: Path,
    *,
    seed: int = 0,
    overwrite: bool = False,
    fresh: bool = False,
    verify: bool = False,
    cache: FactorCache | None = None,
    progress: Progress = lambda done, total, name: None,
) -> MergeReport:
    """Merges into a folder that is whole or absent; returns what was measured.

    The recipe, the sources and their hashes, the seed and the record of every stripped matrix are
    written beside the weights as weightlens.json. A run that was killed or interrupted, or found
    the disk full, leaves OUT.partial, and the same call goes on from there. fresh: start anew all
    the same. verify: read every tensor back before the output gets its name. cache: where
    factorisations of the base are kept and found again. Raises InputError and its kinds.
    """
    resolution = read_recipe(recipe) if isinstance(recipe, Path) else recipe
    check_output(out, overwrite=overwrite)
    located = [resolve_model(source.model) for source in resolution.sources]
    named = resolution.recipe.base_model
    base_at = None if named is None else resolve_model(named)
    read = [folder for at in (*located, base_at) if at for folder in at.folders]
    check_output(out, overwrite=overwrite, sources=read)
    plan = _open_plan(resolution, base_at, located)
    check_space(plan, out)
    run = Run(plan, seed, cache)
    key = plan_hash(plan, resolution, [base_at, *located], seed=seed)
    with CheckpointWriter(out, plan.infos, overwrite=overwrite, plan=key, fresh=fresh) as writer:
        run.write(writer, progress)
        if verify:
            writer.verify()
        home = (base_at or located[0]).path
        copy_companions(home, writer.folder, dtype=resolution.recipe.write_dtype)
        report = _report(resolution, base_at, located, run, key)
        (writer.folder / PROVENANCE_FILE).write_text(report.to_json(), encoding="utf-8")
    return report


def merge_state_dicts(
    resolution: Resolution, models: Mapping[str, Mapping[str, Tensor]], *, seed: int = 0
) -> tuple[dict[str, Tensor], list[MatrixRecord]]:
    """Merges state dicts in memory: the names in the recipe are the keys of `models`.

    Returns the merged tensors and the records of the stripped matrices. Raises like `run_merge`.
    """
    read_as = resolution.recipe.read_dtype

    def model(name: str) -> Model:
        if name not in models:
            raise InputError(f"{name}: named in the recipe, but not among the models given")
        return Model(name, MemoryWeights(models[name], name, read_as=read_as))

    named = resolution.recipe.base_model
    base = None if named is None else model(named)
    plan = _planned(resolution, base, [model(source.model) for source in resolution.sources])
    run = Run(plan, seed)
    merged = {}
    for job in plan.jobs:
        tensor = torch.empty(job.info.shape, dtype=job.info.dtype)
        for start, block in run.blocks(job):
            tensor.flatten()[start : start + block.numel()] = block.flatten()
        merged[job.name] = tensor
    return merged, run.records


def _open_plan(resolution: Resolution, base_at: Resolved | None, located: list[Resolved]) -> Plan:
    read_as = resolution.recipe.read_dtype
    base = None
    if base_at is not None:
        base = open_model(
            base_at.path, adapters=base_at.adapters, label=base_at.label, read_as=read_as
        )
    sources = [
        open_model(
            at.path,
            adapters=at.adapters,
            label=at.label,
            base=base.weights if base else None,
            read_as=read_as,
        )
        for at in located
    ]
    return _planned(resolution, base, sources)


def _planned(resolution: Resolution, base: Model | None, sources: list[Model]) -> Plan:
    reference = (base or sources[0]).weights
    infos = reference.infos if reference is not None else {}
    selection = Selection()
    is_matrix = {name: selection.reason_to_skip(name, info) is None for name, info in infos.items()}
    return make_plan(resolution, base, sources, is_matrix)


def _report(
    resolution: Resolution, base_at: Resolved | None, located: list[Resolved], run: Run, key: str
) -> MergeReport:
    return MergeReport(
        weightlens=VERSION,
        torch=torch.__version__,
        recipe=resolution.text,
        base=_source_record(base_at) if base_at else None,
        sources=[_source_record(at) for at in located],
        seed=run.seed,
        plan=key,
        warnings=list(resolution.warnings),
        tensors=len(run.plan.jobs),
        bytes=run.plan.bytes_written,
        matrices=run.records,
    )


def _source_record(at: Resolved) -> SourceRecord:
    commits = [commit or "local" for commit in at.commits]
    return SourceRecord(
        model=at.label,
        commit="+".join(commits) if any(at.commits) else None,
        hash="+".join(content_hash(folder) for folder in at.folders),
    )
