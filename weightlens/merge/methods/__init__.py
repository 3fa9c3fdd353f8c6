"""All merge methods, one file for each or for a family. The union of them is the registry."""

from typing import get_args

from weightlens.merge.method import MergeMethod
from weightlens.merge.methods.arcee_fusion import ArceeFusion
from weightlens.merge.methods.breadcrumbs import Breadcrumbs, BreadcrumbsTies
from weightlens.merge.methods.dare import DareLinear, DareTies
from weightlens.merge.methods.della import Della, DellaLinear
from weightlens.merge.methods.karcher import Karcher
from weightlens.merge.methods.linear import Linear
from weightlens.merge.methods.model_stock import ModelStock
from weightlens.merge.methods.multislerp import MultiSlerp
from weightlens.merge.methods.nearswap import NearSwap
from weightlens.merge.methods.nuslerp import NuSlerp
from weightlens.merge.methods.passthrough import Passthrough
from weightlens.merge.methods.ram import Ram, RamPlusTensorLocal
from weightlens.merge.methods.sce import Sce
from weightlens.merge.methods.slerp import Slerp
from weightlens.merge.methods.task_arithmetic import TaskArithmetic
from weightlens.merge.methods.ties import Ties

AnyMethod = (
    Linear
    | Slerp
    | NuSlerp
    | MultiSlerp
    | Karcher
    | TaskArithmetic
    | Ties
    | DareLinear
    | DareTies
    | Della
    | DellaLinear
    | Breadcrumbs
    | BreadcrumbsTies
    | ModelStock
    | NearSwap
    | ArceeFusion
    | Sce
    | Ram
    | RamPlusTensorLocal
    | Passthrough
)

METHODS: dict[str, type[MergeMethod]] = {
    method.model_fields["method"].default: method for method in get_args(AnyMethod)
}
"""Every method by the name that recipes call it."""
