"""Reads the next tensor while the one before it is measured.

One thread reads one tensor ahead, as bytes alone: arithmetic there would fight with that of the
measurement for the same cores (threads of two teams that wait for each other quadruple the time of
an eigendecomposition).
"""

from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from weightlens.checkpoint.model import Model
from weightlens.checkpoint.weights import Weights
from weightlens.delta import Delta, Dense
from weightlens.errors import NonFiniteTensor
from weightlens.overlap.rounding import rounding_energy

T = TypeVar("T")


def read_ahead(jobs: Iterator[Callable[[], T]]) -> Generator[T, None, None]:
    """The results of the jobs in order, each begun while the one before it is used.

    What a job raises is raised in its turn. A caller that stops early closes the generator, and
    waits for one job at most.
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


def fetch(weights: Weights | None, name: str) -> Shaped[Tensor, "..."] | None:
    """The bytes of a tensor, where reading them takes time: from a folder, without scales."""
    if weights is None or weights.folder is None or name in weights.scaled:
        return None
    return weights.stored(name)


def taken(
    weights: Weights, name: str, fetched: Shaped[Tensor, "..."] | None
) -> Float[Tensor, "..."]:
    """The tensor in float32, from its bytes where they were fetched. Raises as `Weights.read`."""
    return weights.read(name) if fetched is None else weights.checked(name, fetched)


@dataclass(frozen=True)
class ReadDelta:
    """A model's delta of one tensor, rows as outputs, and what rounding alone would put there.

    delta: None where nothing changed for certain; a bare tensor for a stack of experts.
    rounding: by expert, or of the whole tensor; None for adapters and scaled weights.
    """

    delta: Delta | Float[Tensor, "..."] | None
    rounding: tuple[float, ...] | None = None


def own_weights(model: Model) -> Weights | None:
    """What all of a model's deltas are read from; None for adapters, which need other ways."""
    return None if model.adapters else model.weights


def read_delta(
    model: Model,
    name: str,
    base: Weights,
    base_tensor: Float[Tensor, "..."],
    fetched: Shaped[Tensor, "..."] | None,
) -> ReadDelta:
    """A model's delta of one tensor. base_tensor: as stored; fetched: `own_weights`' bytes.

    Raises as `Weights.read`, and NonFiniteTensor for a difference that float32 cannot hold.
    """
    weights = own_weights(model)
    if weights is not None:
        return _whole(weights, name, base, base_tensor, fetched)
    if not model.adapters.touches(name) and model.weights in (None, base):
        return ReadDelta(None)
    turned = name in base.transposed
    if base_tensor.ndim == 3:
        difference = _finite(model.tensor(name, base) - base_tensor, name, model.label)
        return ReadDelta(difference.mT if turned else difference)
    found = model.delta(name, base, base_tensor)
    if isinstance(found, Dense):
        _finite(found.matrix, name, model.label)
    return ReadDelta(found.transposed() if found and turned else found)


def _whole(
    weights: Weights,
    name: str,
    base: Weights,
    base_tensor: Float[Tensor, "..."],
    fetched: Shaped[Tensor, "..."] | None,
) -> ReadDelta:
    rounding = None
    if name in weights.scaled:
        difference = weights.read(name).sub_(base_tensor)
    else:
        stored = weights.stored(name) if fetched is None else fetched
        tensor = weights.checked(name, stored)
        rounding = tuple(rounding_energy(piece) for piece in _matrices(stored))
        # a state dict's tensors belong to the caller
        ours = fetched is not None or tensor.data_ptr() != stored.data_ptr()
        difference = tensor.sub_(base_tensor) if ours else tensor - base_tensor
    _finite(difference, name, weights.label)
    if name in base.transposed:
        difference = difference.mT
    return ReadDelta(difference if base_tensor.ndim == 3 else Dense(difference), rounding)


def _finite(difference: Float[Tensor, "..."], name: str, label: str) -> Float[Tensor, "..."]:
    lowest, highest = torch.aminmax(difference)
    if not (torch.isfinite(lowest) and torch.isfinite(highest)):
        raise NonFiniteTensor(f"{label}: {name} differs from the base by more than float32 holds")
    return difference


def _matrices(stored: Shaped[Tensor, "..."]) -> Shaped[Tensor, "stack m n"]:
    return stored if stored.ndim == 3 else stored[None]
