"""A merge of adapters that is written as an adapter: factors in, factors out.

Tensor by tensor the factors are stacked and brought to the fewest columns by QR and a small SVD.
The base is read where deltas are stripped, one matrix at a time, and where tensors are saved whole.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from weightlens.checkpoint.adapter_names import module_of
from weightlens.checkpoint.adapter_write import AdapterWriter
from weightlens.checkpoint.names import place_of
from weightlens.delta import Factored
from weightlens.device import CPU, exact_arithmetic
from weightlens.factors import FactorCache
from weightlens.hub import Resolved
from weightlens.merge.adapter_plan import FactorJob, plan_adapter
from weightlens.merge.job import Job
from weightlens.merge.matrix import MatrixName, MatrixSurgery
from weightlens.merge.plan import Plan
from weightlens.merge.provenance import peft_base
from weightlens.merge.record import MatrixRecord, MergeReport
from weightlens.merge.running import Progress, Run
from weightlens.merge.transforms.strip import recompressed
from weightlens.merge.work import single_threaded


def merge_adapters(
    plan: Plan,
    out: Path,
    *,
    base: Resolved,
    report: Callable[[int, int], MergeReport],
    seed: int = 0,
    overwrite: bool = False,
    fresh: bool = False,
    verify: bool = False,
    cache: FactorCache | None = None,
    device: torch.device = CPU,
    progress: Progress = lambda done, total, name: None,
) -> MergeReport:
    """Carries out a plan whose recipe says `output: adapter`, into a folder that PEFT loads.

    The folder is whole or absent, and nothing of a run that ends early is kept: its work is short.
    base: the recipe's, as it was found. report: the record for a number of tensors and of bytes;
    the matrices that were stripped are put into it here. verify: read everything back before the
    folder gets its name. The rest is as for `run_merge`.

    Raises what `plan_adapter` raises; InputError where all deltas cancel, and for a target out of
    reach; NonFiniteTensor where the dtype cannot hold a factor; OutputError.
    """
    run = AdapterRun(Run(plan, seed, cache=cache, device=device))
    contents, named = run.contents, peft_base(base)
    writer = AdapterWriter(
        out,
        [part.job.name for part in contents.factored],
        base_model=named.model,
        revision=named.revision,
        whole=[job.name for job in contents.whole],
        transposed=contents.transposed,
        embeddings=contents.embeddings,
        dtype=contents.dtype,
        overwrite=overwrite,
        fresh=fresh,
    )
    with writer, exact_arithmetic():
        run.write(writer, progress)
        if verify:
            writer.verify()
        made = report(writer.tensors, writer.nbytes)
        made = made.model_copy(update={"matrices": run.records, "checksums": writer.checksums})
        writer.add_provenance(made.to_json())
    return made


class AdapterRun:
    """One pass over a plan, into an adapter; collects the records of the matrices it strips."""

    def __init__(self, model: Run) -> None:
        """model: the same plan carried out into a model: a tensor that is saved whole is what that
        would hold. Reads the tensors that may be copies of the base's. Raises like
        `plan_adapter`."""
        plan = model.plan
        self.contents = plan_adapter(
            plan.resolution, plan.sources, plan.jobs, copies=copied_tensors(plan)
        )
        self._model = model
        self._order = {job.name: i for i, job in enumerate(plan.jobs)}
        self._needed = {module_of(job.name) for job in self.contents.whole}
        self._records: list[MatrixRecord] = []

    @property
    def records(self) -> list[MatrixRecord]:
        """Of the matrices done so far, in the order of the base."""
        found = [*self._records, *self._model.records]
        return sorted(found, key=lambda record: self._order[record.name])

    def write(self, writer: AdapterWriter, progress: Progress) -> None:
        """Writes every tensor. Progress counts bytes, of factors as many as there are at most."""
        contents = self.contents
        done, total = 0, contents.bytes_written
        progress(done, total, "")
        for part in contents.factored:
            self._write_factors(part, writer)
            done += part.entries * contents.dtype.itemsize
            progress(done, total, part.job.name)
        for job in contents.whole:
            writer.add_whole(job.name, self._whole(job))
            done += job.info.nbytes
            progress(done, total, job.name)

    def _write_factors(self, part: FactorJob, writer: AdapterWriter) -> None:
        job = part.job
        read = [(term, term.source.source.model.adapters.factored(job.name)) for term in part.terms]
        terms = [(term, delta) for term, delta in read if delta is not None]
        surgery = self._surgery(job) if job.transforms and terms else None
        if surgery is not None:
            terms = [(t, _stripped(surgery, t.source.source.label, job, d)) for t, d in terms]
        with single_threaded():
            total = factored_sum([delta for _, delta in terms], [t.weight for t, _ in terms])
        m, n = job.info.shape
        merged = total or Factored(torch.zeros(m, 1), torch.zeros(1, n))
        # a bias is saved beside factors, and be they of zeros
        if total is not None or module_of(job.name) in self._needed:
            writer.add(job.name, merged)
        if surgery is not None:
            written = rounded(merged, self.contents.dtype)
            record = surgery.record_of(_oriented(job, merged), _oriented(job, written))
            self._records.append(record)

    def _surgery(self, job: Job) -> MatrixSurgery:
        assert job.base is not None
        place = place_of(job.name)
        base = job.base.source.weights.read(job.base.name)
        return MatrixSurgery(
            MatrixName(job.name, place.expert, place),
            base.T if _is_turned(job) else base,
            job.transforms,
            seed=self._model.seed,
            cache=self._model.cache,
            device=self._model.device,
        )

    def _whole(self, job: Job) -> Float[Tensor, "..."]:
        """A tensor of the merge, base included."""
        tensor = torch.empty(job.info.shape, dtype=job.info.dtype)
        for start, block in self._model.blocks(job):
            tensor.view(-1)[start : start + block.numel()] = block
        return tensor


def copied_tensors(plan: Plan) -> frozenset[str]:
    """Tensors that every source which replaces them only copies from the base, beside factors: PEFT
    saves embeddings so. Merged whole they would be large, and no less right."""
    found = set()
    for job in plan_adapter(plan.resolution, plan.sources, plan.jobs).whole:
        name = job.name
        sums = [given.source.model.adapters for given in job.inputs]
        replacing = [adapters.replaced[name] for adapters in sums if name in adapters.replaced]
        if replacing and all(name in a.names and a.copies(name, plan.home.weights)
                             for a in replacing):  # fmt: skip
            found.add(name)
    return frozenset(found)


def factored_sum(deltas: Sequence[Factored], weights: Sequence[float]) -> Factored | None:
    """Σ a_i Δ_i with the fewest columns and the scale 1; None where it is zero to within rounding.

    In float64 until the end: a sum of deltas of different sizes keeps the small ones' digits.
    """
    if not deltas:
        return None
    scaled = [d.b.double() * (d.scale * a) for d, a in zip(deltas, weights, strict=True)]
    total = Factored(torch.cat(scaled, 1), torch.cat([delta.a for delta in deltas], 0).double())
    return None if total.cancels() else recompressed(total)


def rounded(delta: Factored, dtype: torch.dtype) -> Factored:
    """The delta that factors of scale 1 stand for once they are written in a dtype."""
    return Factored(delta.b.to(dtype).float(), delta.a.to(dtype).float(), delta.scale)


def _stripped(surgery: MatrixSurgery, label: str, job: Job, delta: Factored) -> Factored:
    done = surgery.stripped(label, _oriented(job, delta))
    assert isinstance(done, Factored), "what comes in factors stays so"
    return _oriented(job, done)


def _is_turned(job: Job) -> bool:
    """Whether the base stores the matrix as inputs x outputs."""
    return job.base is not None and job.base.name in job.base.source.weights.transposed


def _oriented(job: Job, delta: Factored) -> Factored:
    """Outputs x inputs, or back."""
    return delta.transposed() if _is_turned(job) else delta
