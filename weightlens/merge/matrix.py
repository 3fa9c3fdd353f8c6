"""One matrix of a merge that transforms apply to: strip each delta, measure as it goes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import xxhash
from jaxtyping import Float
from torch import Tensor

from weightlens.checkpoint.names import Place
from weightlens.delta import Delta, Dense, measurable
from weightlens.errors import InputError
from weightlens.factors import FactorCache, factorised
from weightlens.merge.record import MatrixRecord, Sides, StripRecord
from weightlens.merge.transforms import Strip
from weightlens.merge.transforms.strip import chance_of, squared_norm_of, strip
from weightlens.overlap.subspace import subspace_overlap
from weightlens.spectral.basis import Factorisation, Subspace, random_subspace
from weightlens.spectral.rank import SubspaceSize


@dataclass(frozen=True)
class MatrixName:
    """What a matrix is called: its tensor, its expert in a stack, its place in the model."""

    tensor: str
    expert: int | None
    place: Place


class MatrixSurgery:
    """The base's factorisation of one matrix, made once, and the strips that use it."""

    def __init__(
        self,
        name: MatrixName,
        base: Float[Tensor, "m n"],
        transforms: Sequence[Strip],
        *,
        seed: int,
        cache: FactorCache | None = None,
    ) -> None:
        """Raises InputError where a rank exceeds the matrix."""
        self.name, self.base, self.transforms = name, base, transforms
        self._strips: list[StripRecord] = []
        try:
            # all vectors, always: the bytes of a merge must not depend on what the cache holds
            found = factorised(base, SubspaceSize(), whole=True, cache=cache)
            self._subspaces = [
                self._subspace(found.factorisation, parameters, seed, step)
                for step, parameters in enumerate(transforms)
            ]
        except ValueError as error:
            raise InputError(f"{name.tensor}: {error}") from error

    def _subspace(
        self, factorisation: Factorisation, parameters: Strip, seed: int, step: int
    ) -> Subspace:
        if parameters.subspace == "base":
            return factorisation.subspace(parameters.size)
        rank = factorisation.rank(parameters.size)
        key = f"{seed}/{step}/{self.name.tensor}/{self.name.expert}"
        generator = torch.Generator().manual_seed(xxhash.xxh3_64_intdigest(key.encode()) >> 1)
        m, n = self.base.shape
        return random_subspace(m, n, rank, generator)

    def stripped(self, source: str, delta: Delta) -> Delta:
        """A source's delta after every transform. Raises InputError for a target out of reach."""
        for parameters, subspace in zip(self.transforms, self._subspaces, strict=True):
            delta = self._strip_once(source, delta, parameters, subspace)
        return delta

    def _strip_once(
        self, source: str, delta: Delta, parameters: Strip, subspace: Subspace
    ) -> Delta:
        norm = math.sqrt(squared_norm_of(delta))
        result, factor, untouched = delta, 1.0, True
        if norm > 0:
            try:
                done = strip(delta, subspace, parameters)
            except ValueError as error:
                raise InputError(f"{source}: {self.name.tensor}: {error}") from error
            result, factor, untouched = done.delta, done.factor, done.untouched
        before = _sides(delta, subspace)
        bound = subspace.angle_bound
        self._strips.append(
            StripRecord(
                source=source,
                side=parameters.side,
                subspace=parameters.subspace,
                rank=subspace.rank,
                angle_bound=bound if math.isfinite(bound) else None,
                chance=_chance(subspace.rank, delta.shape),
                before=before,
                after=before if untouched else _sides(result, subspace),
                factor=factor,
                untouched=untouched,
                delta_norm=norm,
            )
        )
        return result

    def record(self, merged: Float[Tensor, "m n"], written: Float[Tensor, "m n"]) -> MatrixRecord:
        """Closes the matrix: the merged delta in float32, and the delta that the file will hold."""
        m, n = self.base.shape
        subspace = self._subspaces[-1]
        return MatrixRecord(
            name=self.name.tensor,
            expert=self.name.expert,
            layer=self.name.place.layer,
            module=self.name.place.module,
            shape=(m, n),
            strips=self._strips,
            merged=_sides(Dense(merged), subspace),
            written=_sides(Dense(written), subspace),
            delta_norm=float(torch.linalg.vector_norm(merged)),
        )


def _sides(delta: Delta, subspace: Subspace) -> Sides | None:
    if delta.is_zero() or squared_norm_of(delta) == 0:
        return None
    return Sides.of(subspace_overlap(measurable(delta), subspace))


def _chance(rank: int, shape: tuple[int, int]) -> Sides:
    return Sides(
        column=chance_of("column", rank, shape),
        row=chance_of("row", rank, shape),
        both=chance_of("both", rank, shape),
        either=chance_of("either", rank, shape),
    )
