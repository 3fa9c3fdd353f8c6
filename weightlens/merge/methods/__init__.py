"""All merge methods, one file each. The union of them is the registry."""

from typing import get_args

from weightlens.merge.method import MergeMethod
from weightlens.merge.methods.linear import Linear
from weightlens.merge.methods.task_arithmetic import TaskArithmetic

AnyMethod = Linear | TaskArithmetic

METHODS: dict[str, type[MergeMethod]] = {
    method.model_fields["method"].default: method for method in get_args(AnyMethod)
}
"""Every method by the name that recipes call it."""
