"""Linear layers whose weights lie as the processor's matrix units want them.

oneDNN lays a weight out anew at every product, which for a batch of answers takes longer than the
product: measured on a processor with AMX, packed bfloat16 layers take 0.55 to 0.7 of the time at 1
to 64 rows. This is what torch's own compiler does when it freezes a model (`torch._inductor`, its
mkldnn passes), here without compiling. The operators are not public: where they are missing or
refuse, a layer stays as it is.
"""

from typing import Any

import torch
from torch import Tensor, nn

_ROWS = 16
"""Rows that the layout is chosen for; any number may come."""


def pack_linears(model: nn.Module) -> int:
    """Packs every bfloat16 linear layer on the CPU in place; how many it were.

    A packed layer cannot be trained, saved or loaded into any more: its plain weight is dropped,
    unless another module has it too (a head that is tied to the embedding).
    """
    holders: dict[int, int] = {}
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            holders[id(parameter)] = holders.get(id(parameter), 0) + 1
    return sum(_pack(module, shared=holders[id(module.weight)] > 1)
               for module in model.modules() if type(module) is nn.Linear)  # fmt: skip


def _pack(layer: nn.Linear, *, shared: bool) -> bool:
    weight = layer.weight.detach()
    if weight.device.type != "cpu" or weight.dtype != torch.bfloat16:
        return False
    try:
        packed = torch.ops.mkldnn._reorder_linear_weight(weight, _ROWS)
        forward = _Packed(packed, None if layer.bias is None else layer.bias.detach())
        forward(torch.zeros(1, 1, layer.in_features, dtype=torch.bfloat16))
    except (AttributeError, RuntimeError, NotImplementedError):
        return False
    layer.forward = forward  # type: ignore[method-assign, assignment]
    if not shared:
        layer.weight = nn.Parameter(weight.new_empty(0), requires_grad=False)
    return True


class _Packed:
    """x W^T + b with a packed W."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self._weight, self._bias = weight, bias

    def __call__(self, x: Tensor) -> Any:
        return torch.ops.mkldnn._linear_pointwise(x, self._weight, self._bias, "none", [], "")
