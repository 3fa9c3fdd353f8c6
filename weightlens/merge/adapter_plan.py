"""What the adapter of a recipe with `output: adapter` will hold, from headers alone.

A weighted sum of deltas that are factors is factors again,

    Σ a_i s_i B_i A_i = [a_1 s_1 B_1, a_2 s_2 B_2, …] · [A_1; A_2; …],

and so is each delta after a strip. Tensors that a source replaces (`modules_to_save`, trained
biases) are merged whole, with all of their modules, as PEFT wants them.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

import torch

from weightlens.checkpoint.adapter import Adapter
from weightlens.checkpoint.adapter_names import (
    check_factored,
    ends_of_others,
    is_bare,
    module_of,
)
from weightlens.checkpoint.layout import TensorInfo
from weightlens.checkpoint.model import AppliedWeights
from weightlens.checkpoint.weights import Weights
from weightlens.errors import RecipeError
from weightlens.merge.job import Input, Job, Source
from weightlens.merge.method import normalised
from weightlens.merge.methods.linear import Linear
from weightlens.merge.methods.task_arithmetic import TaskArithmetic
from weightlens.merge.resolution import Resolution
from weightlens.merge.written import Location

_DOUBLING = ("both", "either")
"""Sides whose strip gives a factored delta twice the columns."""


@dataclass(frozen=True)
class Term:
    """A source's tensor, and what its delta is multiplied by: not 0."""

    source: Input
    weight: float


@dataclass(frozen=True)
class FactorJob:
    """A tensor that the adapter will have factors for; rank: their columns at most."""

    job: Job
    terms: tuple[Term, ...]
    rank: int

    @property
    def adapters(self) -> list[Adapter]:
        """Those whose factors go in."""
        return _adapters(self.job.name, self.terms)

    @property
    def entries(self) -> int:
        """Numbers in both factors, at most."""
        return self.rank * sum(self.job.info.shape)


@dataclass(frozen=True)
class AdapterPlan:
    """What the adapter will hold.

    whole: the tensors that are merged whole, in the adapter's dtype. transposed, embeddings: the
    tensors with factors whose base is stored as inputs x outputs, or is a table of embeddings.
    """

    factored: tuple[FactorJob, ...]
    whole: tuple[Job, ...]
    dtype: torch.dtype
    transposed: frozenset[str]
    embeddings: frozenset[str]

    @property
    def kinds(self) -> dict[str, int]:
        """How many tensors of the base have factors in it, and how many are in it whole."""
        return {"factored": len(self.factored), "whole": len(self.whole)}

    @property
    def tensors(self) -> int:
        """How many tensors it holds, at most, each factor one."""
        return 2 * len(self.factored) + len(self.whole)

    @property
    def bytes_written(self) -> int:
        """Size of all its tensors, at most: directions that cancel are left out."""
        factors = sum(part.entries for part in self.factored) * self.dtype.itemsize
        return factors + sum(job.info.nbytes for job in self.whole)

    @property
    def bytes_read(self) -> int:
        """Size of what goes in: factors, the base where they are stripped, whole tensors."""
        total = sum(i.info.nbytes for job in self.whole for i in job.all_inputs)
        for part in self.factored:
            if part.job.transforms and part.job.base is not None:
                total += part.job.base.info.nbytes
            total += sum(adapter.nbytes(part.job.name) for adapter in part.adapters)
        return total

    @property
    def largest(self) -> int:
        """About how many bytes the tensor takes that takes most."""
        return max(
            *(_factor_bytes(part) for part in self.factored),
            *(job.info.entries * 4 * (2 * len(job.inputs) + 4) for job in self.whole),
            0,
        )


def plan_adapter(
    resolution: Resolution,
    sources: Mapping[str, Source],
    jobs: Sequence[Job],
    *,
    copies: Collection[str] = (),
) -> AdapterPlan:
    """Sorts the tensors of a merge; no weight is read. copies: tensors that sources have whole, but
    as the base has them, so that their factors alone count.

    Raises RecipeError for what no adapter holds, UnsupportedTensor for deltas of both orientations.
    """
    check_adapter_recipe(resolution)
    base = _checked_sources(resolution, sources)
    terms = {job.name: _terms(resolution, job) for job in jobs if job.kind != "copy"}
    touched = [job for job in jobs if terms.get(job.name)]
    if not any(_adapters(job.name, terms[job.name]) for job in touched):
        message = "adapter: no source has factors with a weight other than 0; nothing to write"
        raise resolution.written.error(("output",), message)
    replaced = {job.name for job in touched if _is_replaced(job, terms[job.name])} - set(copies)
    factored = tuple(
        _factor_job(job, terms[job.name]) for job in touched if job.name not in replaced
    )
    names = [part.job.name for part in factored]
    embeddings = frozenset(_kept_as_embeddings(factored))
    transposed = frozenset(_stored_turned(factored)) | base.weights.transposed.intersection(names)
    check_factored(names, transposed, embeddings)
    dtype = resolution.recipe.write_dtype or torch.float32
    wanted = _with_their_modules(resolution, replaced, names, base.weights)
    whole = tuple(
        replace(job, info=TensorInfo(job.info.shape, dtype)) for job in jobs if job.name in wanted
    )
    return AdapterPlan(factored, whole, dtype, transposed, embeddings)


def check_adapter_recipe(resolution: Resolution, steps: Collection[str] = ()) -> None:
    """Raises RecipeError where the recipe alone says that its result is no adapter.

    steps: what other recipes of the same file make, which is gone when they are done.
    """
    recipe = resolution.recipe
    if recipe.models is None:
        form: Location = ("slices",) if recipe.slices is not None else ("modules",)
        raise resolution.written.error(form, "an adapter keeps the layers of its base; list models")
    if resolution.kind not in (TaskArithmetic, Linear):
        raise resolution.written.error(
            ("output",),
            f"adapter: {recipe.merge_method} makes no sum of its sources' factors; take "
            "task_arithmetic, strip or linear, or write output: model",
        )
    if recipe.base_model is None:
        raise resolution.written.error(("output",), "adapter: needs a base_model, for its names")
    if recipe.base_model in steps:
        message = f"{recipe.base_model} is only made on the way; PEFT would not find it"
        raise resolution.written.error(("base_model",), message)
    for key in ("tokenizer", "tokenizer_source", "chat_template", "embeddings"):
        if getattr(recipe, key) is not None:
            raise resolution.written.error(
                (key,), "an adapter has the vocabulary of its base; leave this out"
            )


def _checked_sources(resolution: Resolution, sources: Mapping[str, Source]) -> Source:
    """The base. Raises RecipeError unless the others are adapters on it."""
    assert resolution.recipe.base_model is not None
    base = sources[resolution.recipe.base_model]
    if isinstance(base.weights, AppliedWeights):
        message = "is a sum, which PEFT cannot find; merge it into full weights first"
        raise resolution.written.error(("base_model",), f"{base.label}: {message}")
    for label in resolution.sources:
        model = sources[label].model
        if label == base.label:
            continue
        if not model.adapters:
            raise _error_of(
                resolution, label, "is no adapter; output: adapter needs adapters alone"
            )
        if model.weights is not None and model.weights is not base.weights:
            raise _error_of(
                resolution, label, f"is no adapter on {base.label}, the base_model; its delta has "
                "no factors: write output: model"
            )  # fmt: skip
    return base


def _error_of(resolution: Resolution, label: str, message: str) -> RecipeError:
    uses = [use for group in resolution.groups for use in group.sources if use.model == label]
    return resolution.written.error(uses[0].at if uses else (), f"{label}: {message}")


def _terms(resolution: Resolution, job: Job) -> tuple[Term, ...]:
    """The sources that change a tensor, with their weights."""
    method = job.method
    if isinstance(method, Linear):
        weights = normalised(method.weight) if method.normalize else method.weight
        _check_sum(resolution, job, weights)
    else:
        assert isinstance(method, TaskArithmetic), method
        weights = method.factors()
    found = tuple(
        Term(given, weight)
        for given, weight in zip(job.inputs, weights, strict=True)
        if weight != 0 and given.source.model.adapters.touches(given.name)
    )
    for term in found:
        if term.source.source.model.adapters.is_dora(job.name):
            raise _error_of(
                resolution, term.source.source.label,
                f"is DoRA on {job.name}: its delta has no factors; write output: model",
            )  # fmt: skip
    return found


def _check_sum(resolution: Resolution, job: Job, weights: Sequence[float]) -> None:
    """Σ a_i (w_0 + Δ_i) is w_0 + Σ a_i Δ_i where the weights sum to 1, and only there."""
    if abs(sum(weights) - 1) > torch.finfo(torch.float32).eps:
        raise resolution.written.error(
            ("parameters", "normalize"),
            f"the weights of {job.name} sum to {sum(weights):g}, not 1, so that linear scales the "
            "base too, which no adapter does; leave normalize at true, or write output: model",
        )


def _is_replaced(job: Job, terms: Sequence[Term]) -> bool:
    return any(job.name in term.source.source.model.adapters.replaced for term in terms)


def _adapters(name: str, terms: Sequence[Term]) -> list[Adapter]:
    """Those that have factors for a tensor."""
    return [a for term in terms for a in term.source.source.model.adapters.factoring(name)]


def _factor_job(job: Job, terms: tuple[Term, ...]) -> FactorJob:
    ranks = sum(adapter.rank(job.name) for adapter in _adapters(job.name, terms))
    doubled = sum(transform.side in _DOUBLING for transform in job.transforms)
    return FactorJob(job, terms, min(ranks * 2**doubled, *job.info.shape))


def _kept_as_embeddings(parts: Sequence[FactorJob]) -> Iterator[str]:
    for part in parts:
        if any(adapter.is_embedding(part.job.name) for adapter in part.adapters):
            yield part.job.name


def _stored_turned(parts: Sequence[FactorJob]) -> Iterator[str]:
    """Whose adapters say so: configurations of bases name few of the models that do it."""
    for part in parts:
        name = part.job.name
        if any(a.settings.transposed and not a.is_embedding(name) for a in part.adapters):
            yield name


def _with_their_modules(
    resolution: Resolution, replaced: set[str], factored: Sequence[str], base: Weights
) -> frozenset[str]:
    """The replaced tensors and the others of their modules, but for biases beside factors."""
    numbers = {name for name, info in base.infos.items() if info.dtype.is_floating_point}
    ambiguous = ends_of_others({module_of(name) for name in base.infos})
    wanted = set(replaced)
    for name in sorted(replaced):
        module = module_of(name)
        beside = f"{module}.weight" in factored
        if is_bare(name) or (beside and not name.endswith(".bias")):
            problem = "is no module's weight or bias"
        elif not beside and module in ambiguous:
            problem = "would stand for every module whose name ends like its module's"
        else:
            wanted |= set() if beside else {n for n in numbers if module_of(n) == module}
            continue
        message = f"adapter: a source replaces {name}, which {problem}; write output: model"
        raise resolution.written.error(("output",), message)
    return frozenset(wanted)


def _factor_bytes(part: FactorJob) -> int:
    """Factors as read, stacked and orthogonal, most of them in float64; a base that is stripped,
    and its factorisation."""
    shape = part.job.info.shape
    base = prod(shape) * 12 + 32 * min(shape) ** 2 if part.job.transforms else 0
    return 48 * part.entries + base
