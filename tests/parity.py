"""weightlens beside mergekit, tensor by tensor: how many entries differ, and by how much."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from fine_tunes import Family, family
from mergekit.merge_methods import merge_tensors
from torch import Tensor

from weightlens.merge.method import merged
from weightlens.merge.methods import METHODS

SHAPE = (389, 401)
UNTIED = family(SHAPE, size=0.02)
"""float32 numbers, no two of which are as large; deltas are a fiftieth of the base, as of a
fine-tune."""


@dataclass(frozen=True)
class Case:
    """A method with parameters, on so many sources. based: whether it is given the base."""

    method: str
    sources: int
    parameters: dict[str, Any] = field(default_factory=dict)
    based: bool = True

    def ours(self, of: Family) -> Tensor:
        """The merge in float32."""
        method = METHODS[self.method].model_validate(self.parameters)
        return merged(method, of.tuned[: self.sources], of.base if self.based else None)

    def theirs(self, of: Family) -> Tensor:
        """mergekit's, at dtype float32."""
        tensors = of.tuned[: self.sources]
        return merge_tensors(
            [of.base, *tensors] if self.based else tensors,
            self.method,
            parameters={k: list(v) if isinstance(v, tuple) else v
                        for k, v in self.parameters.items()},
            base_index=0 if self.based else None,
        )  # fmt: skip

    @property
    def said(self) -> str:
        """The parameters as the table has them."""
        words = [f"{name} {_said(value)}" for name, value in self.parameters.items()]
        return "; ".join(words if self.based or METHODS[self.method].base == "ignored"
                         else [*words, "no base"])  # fmt: skip


def _said(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(_said, value))
    return str(value).lower()


@dataclass(frozen=True)
class Difference:
    """Entries that differ in bfloat16, and the largest distance in units in the last place."""

    entries: int
    differing: int
    largest: int


def difference(left: Tensor, right: Tensor) -> Difference:
    """Between two tensors of any float type, both rounded to bfloat16."""
    distance = (place(left.bfloat16()) - place(right.bfloat16())).abs()
    return Difference(distance.numel(), int((distance > 0).sum()), int(distance.max()))


def place(values: Tensor) -> Tensor:
    """The place of each bfloat16 among all of them: neighbours are 1 apart, also across 0."""
    bits = values.view(torch.int16).int()
    return torch.where(bits < 0, -(bits & 0x7FFF), bits)


TWO, THREE = (0.3, 0.9), (0.3, 0.9, -0.5)
_SPARSE = {"weight": THREE, "density": (0.2, 0.6, 0.4)}
_ALL = {"weight": TWO, "density": (1.0, 1.0)}
_ROWS = {"nuslerp_flatten": False}
_COLUMNS = {"nuslerp_flatten": False, "nuslerp_row_wise": True}

CASES = [
    Case("linear", 2, {"weight": TWO}, based=False),
    Case("linear", 3, {"weight": THREE}, based=False),
    Case("linear", 2, {"weight": TWO, "normalize": False}, based=False),
    *(Case("slerp", 1, {"t": t}) for t in (0.1, 0.4, 0.8)),
    *(
        Case("nuslerp", 2, {"weight": TWO, **which}, based=based)
        for based in (True, False)
        for which in ({}, _ROWS, _COLUMNS)
    ),
    Case("task_arithmetic", 2, {"weight": TWO}),
    Case("task_arithmetic", 2, {"weight": TWO, "normalize": True}),
    Case("task_arithmetic", 3, {"weight": THREE, "lambda": 0.7}),
    Case("ties", 2, {"weight": TWO, "density": (0.2, 0.6)}),
    Case("ties", 2, {**_ALL, "normalize": False}),
    Case("ties", 3, {**_SPARSE, "rescale": True, "lambda": 1.3}),
    *(
        case
        for name in ("breadcrumbs", "breadcrumbs_ties")
        for case in (
            Case(name, 2, {"weight": TWO, "density": (0.2, 0.95), "gamma": (0.05, 0.1)}),
            Case(name, 3, {**_SPARSE, "gamma": (0.01, 0.01, 0.01), "rescale": True,
                           "normalize": True, "lambda": 1.3}),
        )
    ),
    *(Case(name, 2, _ALL) for name in ("dare_linear", "dare_ties")),
    *(Case(name, 2, {**_ALL, "epsilon": (0.1, 0.1)}) for name in ("della", "della_linear")),
    Case("model_stock", 2),
    Case("model_stock", 3),
    Case("model_stock", 3, {"filter_wise": True}),
    *(Case("nearswap", 1, {"t": t}) for t in (0.0005, 0.002)),
    Case("arcee_fusion", 1),
    *(Case("sce", 3, {"select_topk": share}) for share in (1.0, 0.3, 0.05)),
    *(
        case
        for name in ("ram", "ramplus_tl")
        for case in (Case(name, 3, {"epsilon": 0.0005}), Case(name, 2, {"epsilon": 0.002}))
    ),
    Case("passthrough", 1, based=False),
    Case("passthrough", 1, {"scale": (0.37,)}, based=False),
]  # fmt: skip

ON_SPHERES = [
    *(
        Case("multislerp", len(weight), {"weight": weight}, based=based)
        for based in (True, False)
        for weight in (TWO, (0.3, 0.9, 0.2))
    ),
    *(Case("karcher", count, based=False) for count in (2, 3)),
    Case("karcher", 3, {"max_iter": 2}, based=False),
]
"""mergekit adds up the squares of a whole tensor in float32 there, and its lengths are off by some
1e-7: compared with the formulas in float64 besides."""


def exact(case: Case, of: Family) -> Tensor:
    """The point on the sphere in float64."""
    origin = of.base.double() if case.based else torch.zeros(SHAPE, dtype=torch.float64)
    vectors = torch.stack([t.double() - origin for t in of.tuned[: case.sources]]).flatten(1)
    weights = torch.tensor(
        case.parameters.get("weight", (1.0,) * case.sources), dtype=torch.float64
    )
    weights = weights / weights.sum()
    lengths = vectors.norm(dim=1)
    units = vectors / lengths.unsqueeze(1)
    chord = weights @ units
    point = chord / chord.norm()
    if case.method == "karcher":
        point = _karcher(units, point, case.parameters.get("max_iter", 10))
    return origin + (point * (weights @ lengths)).reshape(SHAPE)


def _karcher(units: Tensor, point: Tensor, steps: int) -> Tensor:
    for _ in range(steps):
        cosines = (units @ point).clamp(-1, 1)
        angles = cosines.acos()
        pulls = angles / angles.sin() / len(units)
        tangent = pulls @ units - (pulls @ cosines) * point
        length = tangent.norm()
        if length < 1e-5:
            break
        point = length.cos() * point + length.sin() / length * tangent
    return point


def rounded_family() -> Family:
    """A base and fine-tunes of bfloat16 numbers, as checkpoints hold them, in float32: many deltas
    are as large as others."""
    of = family(SHAPE, size=0.02)
    return Family(of.base.bfloat16().float(), [t.bfloat16().float() for t in of.tuned])


TIED = [
    Case("ties", 2, {"weight": TWO, "density": (0.2, 0.6)}),
    Case("ties", 3, {**_SPARSE, "normalize": False}),
    Case("breadcrumbs", 2, {"weight": TWO, "density": (0.2, 0.6), "gamma": (0.05, 0.1)}),
    Case("breadcrumbs_ties", 2, {"weight": TWO, "density": (0.2, 0.6), "gamma": (0.05, 0.1)}),
]


def tied(case: Case, of: Family) -> Tensor:
    """Entries one of whose deltas is as large as the smallest that stays or goes at a cut."""
    found = torch.zeros(SHAPE, dtype=torch.bool)
    densities = case.parameters["density"]
    gammas = case.parameters.get("gamma", (0.0,) * len(densities))
    for delta, density, gamma in zip(of.deltas, densities, gammas, strict=False):
        sizes = delta.abs()
        for value in _cuts(sizes.numpy(), density, gamma):
            found |= sizes == value
    return found


def _cuts(sizes: np.ndarray, density: float, gamma: float) -> Sequence[float]:
    ordered = np.sort(sizes, axis=None)[::-1]
    top = int(gamma * ordered.size)
    ranks = [rank for rank in (top, top + int(density * ordered.size)) if rank]
    return [float(ordered[rank - 1]) for rank in ranks]
