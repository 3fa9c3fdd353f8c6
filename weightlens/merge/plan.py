"""The plan: what a merge will read and write, from the recipe and the headers alone.

Everything that can be wrong is an error here, before a byte of weights is read.
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from weightlens.checkpoint.layout import TensorInfo
from weightlens.checkpoint.model import Model, base_weights
from weightlens.checkpoint.partial import bytes_held
from weightlens.checkpoint.read import TIED, Weights
from weightlens.errors import OutputError, RecipeError, TensorMissing
from weightlens.merge.method import MergeMethod, Pointwise
from weightlens.merge.resolution import Resolution
from weightlens.merge.transforms import Strip

JobKind = Literal["copy", "stream", "matrix"]


@dataclass(frozen=True)
class Job:
    """One output tensor.

    copy: the base's own (integer buffers). stream: pointwise, in blocks. matrix: whole tensors,
    for transforms and for deltas that come as factors.
    """

    name: str
    kind: JobKind
    info: TensorInfo
    transforms: tuple[Strip, ...] = ()


@dataclass(frozen=True)
class Plan:
    """Sources, method and jobs of one merge. base: what deltas refer to, and names come from."""

    base: Weights
    sources: tuple[Model, ...]
    method: MergeMethod
    jobs: tuple[Job, ...]
    read_dtype: torch.dtype | None

    @property
    def infos(self) -> dict[str, TensorInfo]:
        """Names, shapes and dtypes of the output, in order."""
        return {job.name: job.info for job in self.jobs}

    @property
    def bytes_written(self) -> int:
        """Size of the output's weights."""
        return sum(job.info.nbytes for job in self.jobs)


def make_plan(
    resolution: Resolution,
    base: Model | None,
    sources: Sequence[Model],
    is_matrix: Mapping[str, bool] | None = None,
) -> Plan:
    """Checks every source against the base (or against the first source) and lists the jobs.

    is_matrix: which tensors transforms apply to, by name. Raises TensorMissing, ShapeMismatch,
    AdapterMismatch, RecipeError.
    """
    reference = base_weights(base) if base is not None else base_weights(sources[0])
    for source in sources:
        if resolution.method.space == "weights" and base is None and source.weights is None:
            raise RecipeError(f"{source.label}: is an adapter; {resolution.method.method} of "
                              "adapters needs a base_model")  # fmt: skip
        source.check_against(reference)
        _check_tied_heads(reference, source)
    jobs = tuple(
        _job(name, info, resolution, sources, (is_matrix or {}).get(name, False))
        for name, info in reference.infos.items()
    )
    return Plan(reference, tuple(sources), resolution.method, jobs, resolution.recipe.read_dtype)


def _check_tied_heads(reference: Weights, source: Model) -> None:
    """Raises TensorMissing where a source's own head would be lost in an output that ties it."""
    weights = source.weights
    if weights is None:
        return
    for head, embedding in TIED.items():
        if head in weights.infos and head not in reference.infos:
            same = embedding in weights.infos and torch.equal(
                weights.stored(head), weights.stored(embedding)
            )
            if not same:
                raise TensorMissing(
                    f"{head} of {source.label} differs from its embeddings, but {reference.label} "
                    "ties the two: the merge would lose it; use an untied base"
                )


def _job(
    name: str,
    info: TensorInfo,
    resolution: Resolution,
    sources: Sequence[Model],
    transformed: bool,
) -> Job:
    if not info.dtype.is_floating_point:
        return Job(name, "copy", info)
    written = TensorInfo(info.shape, resolution.recipe.write_dtype or info.dtype)
    if transformed and resolution.transforms:
        return Job(name, "matrix", written, resolution.transforms)
    factored = any(name in s.adapters.names for s in sources)
    streams = isinstance(resolution.method, Pointwise) and not factored
    return Job(name, "stream" if streams else "matrix", written)


def check_space(plan: Plan, out: Path) -> None:
    """Raises OutputError where the disk has less room than the output needs, beside what an
    earlier run has allocated for it."""
    place = out.absolute().parent
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free + bytes_held(out)
    if free < plan.bytes_written:
        raise OutputError(
            f"{out}: needs {plan.bytes_written / 1e9:.3g} GB, {free / 1e9:.3g} GB are free; "
            "nothing was written"
        )
