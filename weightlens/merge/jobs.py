"""The jobs of a merge, from the recipe and headers alone: for each tensor of the output the tensors
that go in, and the method with its parameters for that tensor."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce

import torch

from weightlens.checkpoint.layout import TensorInfo
from weightlens.checkpoint.names import (
    TIED,
    are_tied,
    has_row_for_each_token,
    layered,
    tied_to,
)
from weightlens.checkpoint.selection import Selection
from weightlens.checkpoint.weights import Weights
from weightlens.errors import ShapeMismatch, TensorMissing
from weightlens.merge.agreement import (
    Side,
    check_outside,
    check_parts,
    check_whole,
    own_heads,
    parameters,
)
from weightlens.merge.grouping import Group, Use
from weightlens.merge.job import Input, Job, JobKind, Source
from weightlens.merge.layers import check_stack, height, is_before, layers_of, stacks_of
from weightlens.merge.recipe import Embeddings
from weightlens.merge.resolution import Resolution


@dataclass
class JobMaker:
    """Turns the groups of a resolution into jobs. sources: by the names in the recipe; rows: of the
    embeddings, where the tokenizer says."""

    resolution: Resolution
    sources: Mapping[str, Source]
    rows: int | None = None
    selection: Selection = field(default_factory=Selection)

    def jobs(self) -> list[Job]:
        """All jobs, in the order of the reference's tensors or of the slices. Raises TensorMissing,
        ShapeMismatch, UnsupportedTensor, RecipeError."""
        groups = self.resolution.groups
        if groups[0].layers is None:
            return list(self._whole(groups[0]))
        jobs = list(self._stacked(groups))
        recipe = self.resolution.recipe
        aligned = recipe.wanted_tokenizer is not None or recipe.embeddings == "tokenizer"
        check_stack({job.name: job.info for job in jobs}, self._home, rows=not aligned)
        return jobs

    @property
    def _home(self) -> Weights:
        """Of the model whose config is copied."""
        recipe, groups = self.resolution.recipe, self.resolution.groups
        return self.sources[recipe.base_model or groups[0].sources[0].model].weights

    def _reference(self, group: Group) -> Weights:
        return self.sources[(group.base or group.sources[0]).model].weights

    def _heads(self, group: Group) -> list[str]:
        """Output layers that the reference ties to its embeddings and another source, or the model
        whose config is copied, does not."""
        others = [self.sources[use.model].weights for use in group.sources]
        lead, home = self._reference(group), self._home
        untied = [] if are_tied(home.config, home.infos) else [
            head for head in TIED
            if head in home.infos and head not in lead.infos and tied_to(head, lead.infos)
        ]  # fmt: skip
        return list(dict.fromkeys([*own_heads(lead, others), *untied]))

    def _whole(self, group: Group) -> Iterator[Job]:
        reference = self._reference(group)
        depth: dict[str, int] = {}
        for name in parameters(reference):
            at = layered(name)
            if at:
                depth[at.before] = max(depth.get(at.before, 0), at.layer + 1)
        for name in [*parameters(reference), *self._heads(group)]:
            at = layered(name)
            t = 0.0 if at is None else height(at.layer, depth[at.before])
            yield self._job(group, name, [name] * len(group.sources), name, t)

    def _stacked(self, groups: Sequence[Group]) -> Iterator[Job]:
        """What comes before the layers from the first slice, what comes after from the last."""
        first, last = self._reference(groups[0]), self._reference(groups[-1])
        for name in parameters(first):
            if layered(name) is None and is_before(name):
                yield self._job(groups[0], name, [name] * len(groups[0].sources), name, 0.0)
        offset = 0
        for group in groups:
            yield from self._slice(group, offset)
            offset += group.layers or 0
        for name in [*parameters(last), *self._heads(groups[-1])]:
            if layered(name) is None and not is_before(name):
                yield self._job(groups[-1], name, [name] * len(groups[-1].sources), name, 0.0)

    def _slice(self, group: Group, offset: int) -> Iterator[Job]:
        lead = group.base or group.sources[0]
        names = layers_of(self.sources[lead.model].weights)
        for use in (lead, *group.sources):
            self._check_depth(use)
        for i in range(group.layers or 0):
            for at in names[(lead.layers or (0, 0))[0] + i]:
                inputs = [at.at((use.layers or (0, 0))[0] + i) for use in group.sources]
                base = None if group.base is None else at.at(at.layer)
                t = height(i, group.layers or 0)
                yield self._job(group, at.at(offset + i), inputs, base, t)

    def _check_depth(self, use: Use) -> None:
        layers, error = layers_of(self.sources[use.model].weights), self.resolution.written.error
        stacks = stacks_of(layers)
        if len(stacks) > 1:
            raise error(use.at, f"{use.model} has several stacks of layers ({', '.join(stacks)}); "
                        "slices are understood for one")  # fmt: skip
        first, end = use.layers or (0, 0)
        missing = next((layer for layer in range(first, end) if layer not in layers), None)
        if missing is None:
            return
        counted = max(layers, default=-1) + 1 == len(layers)
        has = f"{len(layers)} layers" if counted else f"no layer {missing}"
        place = (*use.at, "layer_range")
        raise error(place, f"[{first}, {end}] of {use.model}, which has {has}")

    def _job(
        self, group: Group, name: str, inputs: Sequence[str], base_name: str | None, t: float
    ) -> Job:
        resolution = self.resolution
        base = None
        if group.base is not None:
            base = self._input(group.base, base_name or name, name)
        found = tuple(
            self._input(use, inner, name) for use, inner in zip(group.sources, inputs, strict=True)
        )
        everything = found if base is None else (base, *found)
        info, lead = self._info(name, everything), self._lead(everything)
        method = resolution.method(group, output=name, inputs=inputs, t=t)
        if not info.dtype.is_floating_point:
            return Job(name, "copy", info, base, found, lead, method)
        matrix = self.selection.reason_to_skip(name, info) is None
        own = resolution.transforms if matrix else ()
        kind: JobKind = "stream" if not own and all(i.streams for i in everything) else "matrix"
        return Job(name, kind, info, base, found, lead, method, own)

    def _input(self, use: Use, name: str, output: str) -> Input:
        source = self.sources[use.model]
        infos = source.weights.infos
        if name not in infos and tied_to(name, infos) is None:
            raise TensorMissing(f"{name} is not in {source.label}, but {output} needs it")
        return Input(source, name)

    def _lead(self, inputs: Sequence[Input]) -> Input:
        """The base, also where the method takes it for a source like the others; else the first."""
        base = self.resolution.recipe.base_model
        return next((i for i in inputs if i.source.label == base), inputs[0])

    def _info(self, name: str, inputs: Sequence[Input]) -> TensorInfo:
        shape = self._shape(name, inputs)
        dtypes = [i.info.dtype for i in inputs]
        if len({dtype.is_floating_point for dtype in dtypes}) > 1:
            raise ShapeMismatch(f"{name} is integers in some sources and numbers in others")
        if not dtypes[0].is_floating_point:
            return TensorInfo(shape, dtypes[0])
        recipe = self.resolution.recipe
        if recipe.output == "model" or len(set(dtypes)) > 1:  # an adapter's are not read
            for given, dtype in zip(inputs, dtypes, strict=True):
                given.source.weights.check_dtype(given.name, dtype)
        stored = reduce(torch.promote_types, dtypes)
        return TensorInfo(shape, recipe.write_dtype or stored)

    def _shape(self, name: str, inputs: Sequence[Input]) -> tuple[int, ...]:
        shapes = [i.info.shape for i in inputs]
        # () is a number, without rows
        alike = all(shapes) and len({shape[1:] for shape in shapes}) == 1
        by_token = alike and has_row_for_each_token(name)
        if self.rows is not None and by_token:
            return self._cut(name, inputs, self.rows)
        if len(set(shapes)) == 1:
            return shapes[0]
        policy = self.resolution.recipe.embeddings
        return self._resized(name, inputs, policy, by_token=by_token)

    def _cut(self, name: str, inputs: Sequence[Input], rows: int) -> tuple[int, ...]:
        """One row for each token; what is more has no meaning."""
        for given in inputs:
            if given.info.shape[0] < rows:
                raise ShapeMismatch(
                    f"{name} of {given.source.label} has {given.info.shape[0]} rows, but the "
                    f"tokenizer {rows} tokens; leave out tokenizer_source, or --engine mergekit "
                    "makes rows for the others"
                )
        return (rows, *inputs[0].info.shape[1:])

    def _resized(
        self, name: str, inputs: Sequence[Input], policy: Embeddings | None, *, by_token: bool
    ) -> tuple[int, ...]:
        """The shape of an embedding whose rows differ. by_token: whether it is one, and only those
        differ. Raises ShapeMismatch for other tensors."""
        first = inputs[0]
        other = next(i for i in inputs if i.info.shape != first.info.shape)
        said = (f"{name} is {_times(other.info.shape)} in {other.source.label} but "
                f"{_times(first.info.shape)} in {first.source.label}")  # fmt: skip
        if not by_token:
            raise ShapeMismatch(said)
        if policy is None:
            raise ShapeMismatch(
                f"{said}: the vocabularies differ; say embeddings: base (the base's rows), common "
                "(the rows that all have; only where the first tokens are the same) or tokenizer "
                "(aligned token by token)"
            )
        least = min(i.info.shape[0] for i in inputs)
        rows = self._lead(inputs).info.shape[0] if policy == "base" else least
        return (rows, *first.info.shape[1:])


def check_sources(resolution: Resolution, sources: Mapping[str, Source]) -> None:
    """Raises where sources do not hold the same tensors, or an adapter does not fit.

    TensorMissing, ShapeMismatch, AdapterMismatch.
    """
    sides = {name: Side(source.label, source.weights) for name, source in sources.items()}
    groups = resolution.groups
    for group in groups:
        lead = sides[(group.base or group.sources[0]).model]
        for use in group.sources:
            source = sources[use.model]
            source.model.adapters.check_fits(source.weights)
            if use.layers is None:
                check_whole(lead, sides[use.model])
                continue
            check_parts(lead, sides[use.model])
            if group in (groups[0], groups[-1]):
                check_outside(lead, sides[use.model])
        if group.layers is not None:
            check_parts(sides[(groups[0].base or groups[0].sources[0]).model], lead)


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "a number"
