"""One matrix of a merge that transforms apply to: strip each delta, measure as it goes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import xxhash
from jaxtyping import Float
from torch import Tensor

from weightlens.checkpoint.names import Place
from weightlens.delta import Delta, Dense, Factored
from weightlens.device import CPU
from weightlens.errors import InputError
from weightlens.factors import FactorCache, factorised
from weightlens.merge.record import MatrixRecord, Sides, StripRecord
from weightlens.merge.transforms import Strip
from weightlens.merge.transforms.energies import Energies, energies_of
from weightlens.merge.transforms.strip import Stripped, chance_of, strip
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
        device: torch.device = CPU,
    ) -> None:
        """device: where the arithmetic is done; what comes in and goes out lies in memory. Raises
        InputError where a rank exceeds the matrix."""
        self.name, self.base, self.transforms = name, base, transforms
        self._device = device
        self._strips: list[StripRecord] = []
        try:
            # all vectors, always: the bytes of a merge must not depend on what the cache holds
            found = factorised(base, SubspaceSize(), whole=True, cache=cache, device=device)
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
        drawn = random_subspace(m, n, rank, generator)
        return replace(drawn, u=drawn.u.to(self._device), v=drawn.v.to(self._device))

    def stripped(self, source: str, delta: Delta) -> Delta:
        """A source's delta after every transform. Raises InputError for a target out of reach."""
        delta = delta.on(self._device)
        for parameters, subspace in zip(self.transforms, self._subspaces, strict=True):
            delta = self._strip_once(source, delta, parameters, subspace)
        return delta.on(CPU)

    def _strip_once(
        self, source: str, delta: Delta, parameters: Strip, subspace: Subspace
    ) -> Delta:
        done: Stripped | None = None
        if not delta.is_zero():
            try:
                done = strip(delta, subspace, parameters)
            except ValueError as error:
                raise InputError(f"{source}: {self.name.tensor}: {error}") from error
        bound = subspace.angle_bound
        self._strips.append(
            StripRecord(
                source=source,
                side=parameters.side,
                subspace=parameters.subspace,
                rank=subspace.rank,
                angle_bound=bound if math.isfinite(bound) else None,
                chance=_chance(subspace.rank, delta.shape),
                before=_shares(done.before if done else None),
                after=_shares(done.after if done else None),
                factor=done.factor if done else 1.0,
                untouched=done.untouched if done else True,
                delta_norm=math.sqrt(done.before.total) if done else 0.0,
            )
        )
        return done.delta if done else delta

    def record(self, merged: Float[Tensor, "m n"], written: Float[Tensor, "m n"]) -> MatrixRecord:
        """Closes the matrix: the merged delta in float32, and the delta that the file will hold,
        both measured anew."""
        lies, will = (self._energies(Dense(delta)) for delta in (merged, written))
        return self._closed(math.sqrt(lies.total), _shares(lies), _shares(will))

    def record_of(self, merged: Factored, written: Factored) -> MatrixRecord:
        """The same of deltas in factors, which are not multiplied out."""
        lies, will = (self._energies(delta) for delta in (merged, written))
        return self._closed(math.sqrt(lies.total), _shares(lies), _shares(will))

    def _energies(self, delta: Delta) -> Energies:
        return energies_of(delta.on(self._device), self._subspaces[-1])

    def _closed(self, norm: float, merged: Sides | None, written: Sides | None) -> MatrixRecord:
        m, n = self.base.shape
        return MatrixRecord(
            name=self.name.tensor,
            expert=self.name.expert,
            layer=self.name.place.layer,
            module=self.name.place.module,
            shape=(m, n),
            strips=self._strips,
            merged=merged,
            written=written,
            delta_norm=norm,
        )


def _shares(energies: Energies | None) -> Sides | None:
    overlap = energies.overlap() if energies is not None else None
    return None if overlap is None else Sides.of(overlap)


def _chance(rank: int, shape: tuple[int, int]) -> Sides:
    return Sides(
        column=chance_of("column", rank, shape),
        row=chance_of("row", rank, shape),
        both=chance_of("both", rank, shape),
        either=chance_of("either", rank, shape),
    )
