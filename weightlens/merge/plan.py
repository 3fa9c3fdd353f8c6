"""The plan: what a merge will read and write, from the recipe and the headers alone.

Everything that can be wrong is an error here, before a byte of weights is read.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weightlens.checkpoint.config import stacked_layers, text_config
from weightlens.checkpoint.layout import TensorInfo
from weightlens.checkpoint.names import TIED, has_row_for_each_token
from weightlens.checkpoint.partial import bytes_held
from weightlens.checkpoint.weights import Weights
from weightlens.errors import OutputError
from weightlens.merge.adapter_plan import AdapterPlan, plan_adapter
from weightlens.merge.agreement import has_own
from weightlens.merge.job import Job, Source
from weightlens.merge.jobs import JobMaker, check_sources
from weightlens.merge.resolution import Resolution
from weightlens.merge.streaming import CHUNK
from weightlens.merge.tokens import Words

AT_REST = 330e6
"""Bytes that Python, torch and this program take before a tensor is read (measured)."""


@dataclass(frozen=True)
class Plan:
    """What one merge comes to.

    sources: by the names in the recipe; home: where names and config come from: the base, or the
    first model listed. config: what changes in config.json. words: what becomes of the tokenizer.
    adapter: what the output holds where it is an adapter; then `infos` are those of the model.
    """

    resolution: Resolution
    sources: Mapping[str, Source]
    home: Source
    jobs: tuple[Job, ...]
    config: Mapping[str, Any]
    words: Words
    adapter: AdapterPlan | None = None

    @property
    def infos(self) -> dict[str, TensorInfo]:
        """Names, shapes and dtypes of the output, in order."""
        return {job.name: job.info for job in self.jobs}

    @property
    def bytes_written(self) -> int:
        """Size of the output's weights; of an adapter's, at most."""
        if self.adapter is not None:
            return self.adapter.bytes_written
        return sum(job.info.nbytes for job in self.jobs)

    @property
    def bytes_read(self) -> int:
        """Size of all tensors that go in, each counted once; a second pass reads some again."""
        if self.adapter is not None:
            return self.adapter.bytes_read
        seen = {(i.source.label, i.name): i.info.nbytes for j in self.jobs for i in j.all_inputs}
        return sum(seen.values())

    def peak_memory(self, workers: int) -> int:
        """About how many bytes the merge will take at most."""
        if self.adapter is not None:
            return int(AT_REST + self.adapter.largest)
        streams = [j for j in self.jobs if j.kind == "stream"]
        widest = max((_block_bytes(job) for job in streams), default=0)
        matrix = max((_matrix_bytes(job) for job in self.jobs if job.kind == "matrix"), default=0)
        return int(AT_REST + max(workers * widest, matrix))


def make_plan(
    resolution: Resolution, sources: Mapping[str, Source], words: Words | None = None
) -> Plan:
    """Checks every source against the recipe and lists the jobs.

    Raises TensorMissing, ShapeMismatch, UnsupportedTensor, AdapterMismatch, RecipeError.
    """
    check_sources(resolution, sources)
    words = words or Words()
    jobs = tuple(JobMaker(resolution, sources, words.rows).jobs())
    first = resolution.groups[0]
    home = sources[resolution.recipe.base_model or first.sources[0].model]
    changes = _config_changes(resolution, home.weights, jobs)
    to_adapter = resolution.recipe.output == "adapter"
    adapter = plan_adapter(resolution, sources, jobs) if to_adapter else None
    return Plan(resolution, sources, home, jobs, changes, words, adapter)


def _config_changes(resolution: Resolution, home: Weights, jobs: tuple[Job, ...]) -> dict[str, Any]:
    """What of config.json no longer holds: the number of layers, the rows of the embeddings,
    an output layer that is no longer tied to them."""
    changes: dict[str, Any] = {}
    groups = resolution.groups
    if groups[0].layers is not None:
        taken = [
            layer
            for group in groups
            for layer in range(*((group.base or group.sources[0]).layers or (0, 0)))
        ]
        changes |= stacked_layers(home.config, taken)
    for job in jobs:
        own = home.infos.get(job.name)
        if has_row_for_each_token(job.name) and own is not None and own.shape != job.info.shape:
            changes["vocab_size"] = job.info.shape[0]
        if _no_longer_tied(job, home):
            changes["tie_word_embeddings"] = False
    return changes


def _no_longer_tied(job: Job, home: Weights) -> bool:
    """Whether an output layer is merged from one apart from its embeddings, but config.json comes
    from a model that ties the two: it would not be looked at."""
    if job.name not in TIED:
        return False
    tied = job.name not in home.infos or text_config(home.config).get("tie_word_embeddings", False)
    return bool(tied) and any(has_own(job.name, given.source.weights) for given in job.all_inputs)


def check_space(needs: Mapping[Path, int]) -> None:
    """Raises OutputError where a disk has less room than the outputs on it need, beside what an
    earlier run has allocated for them. needs: bytes by output."""
    disks: dict[int, list[Path]] = {}
    for out in needs:
        disks.setdefault(_existing(out).stat().st_dev, []).append(out)
    for outs in disks.values():
        needed = sum(needs[out] for out in outs)
        free = shutil.disk_usage(_existing(outs[0])).free + sum(map(bytes_held, outs))
        if free < needed:
            raise OutputError(
                f"{outs[-1]}: needs {needed / 1e9:.3g} GB{' with its steps' * (len(outs) > 1)}, "
                f"{free / 1e9:.3g} GB are free; nothing was written"
            )


def _existing(out: Path) -> Path:
    """The nearest folder above an output."""
    return next(parent for parent in out.resolve().parents if parent.exists())


def _block_bytes(job: Job) -> int:
    """Of the buffers that one worker holds: every input in float32 and as stored, and about as much
    again for what the method makes of them."""
    width = job.method.width(job.info.shape)
    entries = min(max(CHUNK // width, 1) * width, job.info.entries)
    return entries * 4 * (2 * len(job.all_inputs) + 4)


def _matrix_bytes(job: Job) -> int:
    entries = job.info.entries
    shape = job.info.shape[-2:]
    factors = 8 * 4 * min(shape) ** 2 if job.transforms and len(shape) == 2 else 0
    return entries * 4 * (2 * len(job.inputs) + 3) + factors
