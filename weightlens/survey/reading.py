"""Reads the next tensor while the one before it is measured.

One thread reads one tensor ahead, so that at most two of each are in memory: the base's and one
model's delta, in hand and to come.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from jaxtyping import Float
from torch import Tensor

from weightlens.checkpoint.model import Model
from weightlens.checkpoint.read import FolderWeights, Weights
from weightlens.delta import Delta, Dense
from weightlens.overlap.rounding import rounding_energy

T = TypeVar("T")


def read_ahead(jobs: Iterator[Callable[[], T]]) -> Iterator[T]:
    """The results of the jobs in order, each begun while the one before it is used.

    What a job raises is raised in its turn. A caller that stops early waits for one job at most.
    """
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="reading") as reader:
        coming = _submitted(reader, jobs)
        while coming is not None:
            result = coming.result()
            coming = _submitted(reader, jobs)
            yield result


def _submitted(reader: Executor, jobs: Iterator[Callable[[], T]]) -> "Future[T] | None":
    job = next(jobs, None)
    return None if job is None else reader.submit(job)


@dataclass(frozen=True)
class ReadDelta:
    """A model's delta of one tensor, rows as outputs, and what rounding alone would put there.

    delta: None where nothing changed for certain; a bare tensor for a stack of experts.
    rounding: by expert, or of the whole tensor; None for adapters and scaled weights.
    """

    delta: Delta | Float[Tensor, "..."] | None
    rounding: tuple[float, ...] | None


def read_delta(
    model: Model, name: str, base: Weights, base_tensor: Float[Tensor, "..."]
) -> ReadDelta:
    """Reads one tensor of a model against the base's, which is oriented as stored."""
    plain = model.weights is not None and not model.adapters
    if plain or base_tensor.ndim == 3:
        delta, rounding = _whole(model, name, base, base_tensor)
        if base_tensor.ndim == 3:
            return ReadDelta(delta, rounding)
        found: Delta | None = Dense(delta)
    else:
        found, rounding = model.delta(name, base, base_tensor), None
    if found is not None and name in base.transposed:
        found = found.transposed()
    return ReadDelta(found, rounding)


def _whole(
    model: Model, name: str, base: Weights, base_tensor: Float[Tensor, "..."]
) -> tuple[Float[Tensor, "..."], tuple[float, ...] | None]:
    weights = model.weights
    if weights is None or model.adapters:
        return model.tensor(name, base) - base_tensor, None
    if name in weights.scaled:
        return weights.read(name).sub_(base_tensor), None
    stored = weights.stored(name)
    tensor = weights.checked(name, stored)
    pieces = stored if stored.ndim == 3 else stored[None]
    rounding = tuple(rounding_energy(piece) for piece in pieces)
    # a state dict's tensors belong to the caller
    ours = isinstance(weights, FolderWeights) or tensor.data_ptr() != stored.data_ptr()
    return (tensor.sub_(base_tensor) if ours else tensor - base_tensor), rounding
