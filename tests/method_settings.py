"""One setting or more for every merge method, on three sources where it takes so many."""

from dataclasses import dataclass, field
from typing import Any

from fine_tunes import Family
from torch import Tensor

from weightlens.merge.method import MergeMethod
from weightlens.merge.methods import METHODS

_WEIGHTS = {"weight": (0.3, 0.9, -0.2)}
_SPARSE = {**_WEIGHTS, "density": (0.2, 0.6, 0.9)}


@dataclass(frozen=True)
class Setting:
    """A method with parameters. based: whether it is given the base."""

    name: str
    parameters: dict[str, Any] = field(default_factory=dict)
    based: bool = True

    @property
    def method(self) -> MergeMethod:
        """The method."""
        return METHODS[self.name](**self.parameters)

    def inputs(self, of: Family) -> tuple[list[Tensor], Tensor | None]:
        """As many sources as it takes, and the base where it is given one."""
        most = METHODS[self.name].most
        return of.tuned[:most], of.base if self.based else None

    def __str__(self) -> str:
        given = "-".join(f"{k}={v}" for k, v in self.parameters.items() if isinstance(v, bool))
        return "-".join(filter(None, [self.name, given, "" if self.based else "no base"]))


_FLAT, _COLUMNS = "nuslerp_flatten", "nuslerp_row_wise"
_TWO = {"weight": (0.3, 0.9)}

SETTINGS = [
    Setting("linear", _WEIGHTS, based=False),
    Setting("slerp", {"t": 0.4}),
    Setting("nuslerp", _TWO),
    Setting("nuslerp", {**_TWO, _FLAT: False}),
    Setting("nuslerp", {**_TWO, _FLAT: False, _COLUMNS: True}),
    Setting("nuslerp", {**_TWO, _FLAT: False}, based=False),
    Setting("multislerp", {"weight": (0.3, 0.9, 0.2)}),
    Setting("multislerp", {"weight": (0.3, 0.9, 0.2)}, based=False),
    Setting("karcher", based=False),
    Setting("task_arithmetic", _WEIGHTS),
    Setting("ties", {**_SPARSE, "rescale": True}),
    Setting("dare_linear", _SPARSE),
    Setting("dare_ties", _SPARSE),
    Setting("della", {**_SPARSE, "epsilon": (0.1, 0.3, 0.05)}),
    Setting("della_linear", {**_SPARSE, "epsilon": (0.1, 0.3, 0.05)}),
    Setting("breadcrumbs", {**_SPARSE, "gamma": (0.1, 0.01, 0.2)}),
    Setting("breadcrumbs_ties", {**_SPARSE, "gamma": (0.1, 0.01, 0.2)}),
    Setting("model_stock"),
    Setting("model_stock", {"filter_wise": True}),
    Setting("nearswap", {"t": 0.0005}),
    Setting("arcee_fusion"),
    Setting("sce", {"select_topk": 0.3}),
    Setting("ram", {"epsilon": 0.0005}),
    Setting("ramplus_tl", {"epsilon": 0.0005}),
    Setting("passthrough", {"scale": (0.3,)}, based=False),
]
