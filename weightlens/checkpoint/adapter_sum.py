"""Several adapters as one: W + Σ sᵢ Bᵢ Aᵢ, what PEFT computes with all of them active.

Factors are stacked, Σ sᵢ Bᵢ Aᵢ = [s₁B₁, s₂B₂, …] · [A₁; A₂; …], so that a sum stays factored.
"""

from collections.abc import Collection, Sequence
from functools import reduce

from jaxtyping import Float
from torch import Tensor

from weightlens.checkpoint.adapter import Adapter
from weightlens.checkpoint.weights import Weights, all_finite
from weightlens.delta import Delta, Factored, added
from weightlens.errors import NonFiniteTensor, UnsupportedTensor


class AdapterSum:
    """Any number of adapters, or none; the delta of a tensor is the sum of theirs.

    replaced: the adapter that puts a whole tensor in the place of the base's, by tensor.
    """

    def __init__(self, parts: Sequence[Adapter] = ()) -> None:
        """Raises UnsupportedTensor where parts do not add up: two replace one tensor, or one is
        DoRA on a tensor that another one touches."""
        self.parts = tuple(parts)
        self.replaced: dict[str, Adapter] = {}
        self._factored: dict[str, list[Adapter]] = {}
        touched: dict[str, list[Adapter]] = {}
        for part in self.parts:
            for name in part.replaced:
                self.replaced.setdefault(name, part)
            for name in part.names:
                self._factored.setdefault(name, []).append(part)
            for name in dict.fromkeys([*part.names, *part.replaced]):
                touched.setdefault(name, []).append(part)
        for name, sharing in touched.items():
            _check_adds_up(name, sharing)

    def __len__(self) -> int:
        """The number of adapters."""
        return len(self.parts)

    @property
    def names(self) -> Collection[str]:
        """Names of the base tensors that are changed by factors."""
        return self._factored.keys()

    def touches(self, name: str) -> bool:
        """Whether any part changes a base tensor."""
        return name in self._factored or name in self.replaced

    def factoring(self, name: str) -> Sequence[Adapter]:
        """The parts that have factors for a tensor."""
        return self._factored.get(name, [])

    def factored(self, name: str) -> Factored | None:
        """The delta of one base tensor, oriented like it, of the summed rank of the parts.

        None where no part has factors for it, and where they cancel to within rounding, as those of
        an adapter and its opposite do. Raises NonFiniteTensor where the sum leaves float32.
        """
        deltas: list[Delta] = [part.factored(name) for part in self.factoring(name)]
        if not deltas:
            return None
        total = reduce(added, deltas)
        assert isinstance(total, Factored)  # as all of them are
        if not all_finite(total.b):
            raise NonFiniteTensor(
                f"{name}: the factors of {' and '.join(str(p.folder) for p in self.parts)} times "
                "their alphas are beyond float32"
            )
        return None if total.cancels() else total

    def is_dora(self, name: str) -> bool:
        """Whether a tensor is rescaled as well, so that its delta is not low-rank."""
        return any(part.is_dora(name) for part in self.factoring(name))

    def applied(self, name: str, weight: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """The weight with the factored deltas on top; itself where there are none."""
        if self.is_dora(name):
            (alone,) = self._factored[name]
            return alone.applied(name, weight)
        low_rank = self.factored(name)
        return weight if low_rank is None else weight + low_rank.dense()

    def replacement(self, name: str) -> Float[Tensor, "..."]:
        """A whole tensor that takes the place of the base's, float32."""
        return self.replaced[name].replacement(name)

    def check_fits(self, base: Weights) -> None:
        """Raises AdapterMismatch where a part changes what is not in the base, or other shapes."""
        for part in self.parts:
            part.check_fits(base)


NO_ADAPTERS = AdapterSum()


def _check_adds_up(name: str, parts: Sequence[Adapter]) -> None:
    """parts: those that touch the tensor."""
    replacing = [part for part in parts if name in part.replaced]
    if len(replacing) > 1:
        raise UnsupportedTensor(
            f"{name}: {replacing[0].folder} and {replacing[1].folder} both put a whole tensor in "
            "its place; only one adapter of a sum may"
        )
    dora = next((part for part in parts if part.is_dora(name)), None)
    if dora is not None and len(parts) > 1:
        other = next(part for part in parts if part is not dora)
        raise UnsupportedTensor(
            f"{name}: {dora.folder} is DoRA and cannot be added to {other.folder}: its magnitudes "
            "depend on the weight below; merge one of the two into its base first"
        )
