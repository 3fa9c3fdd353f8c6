"""Weights kept in 8-bit floats with scales beside them, and those kept in forms not read here.

    w = q · s    q: X.weight in float8_e4m3fn or float8_e5m2; s: one number for a block of it

    X.weight_scale_inv   one for each block, of 128 x 128 or as the config says (DeepSeek-V3,
                         Qwen3-FP8); it multiplies, whatever its name says
    X.weight_scale       one for the tensor or for each row (FBGEMM, compressed-tensors)

The product is taken in float32. Blocks at the lower and right edge may be cut short.
"""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from weightlens.checkpoint.config import quantisation_method
from weightlens.checkpoint.layout import TensorInfo
from weightlens.errors import UnsupportedTensor

FLOAT8 = frozenset({torch.float8_e4m3fn, torch.float8_e5m2})
"""The types that mean nothing without scales."""

USUAL_BLOCK = (128, 128)
"""Rows and columns of a block where nothing else is said: DeepSeek-V3's, and of all since."""

_ACTIVATION_SCALES = ("input_scale", "input_scale_ub", "activation_scale", "output_scale")
"""Belong to a module whose weight is scaled, and say nothing about the weight."""

_PACKED = re.compile(
    r"\.(qweight|qzeros|weight_packed|SCB|W_q|codes|codebooks|_data|dense_weights)$"
    r"|\.(centroids|quant_state)\.|_(blocks|qdata)$"
)
"""Tensors that only a packed weight has: GPTQ, AWQ, compressed-tensors, bitsandbytes, HQQ, AQLM,
VPTQ, SpQR, quanto, MXFP4, torchao."""


@dataclass(frozen=True)
class Scale:
    """The scales of one tensor.

    name: the tensor that holds them. grid: their number along each axis of the weight; block: the
    entries of the weight that one of them stands for, along each axis.
    """

    name: str
    grid: tuple[int, ...]
    block: tuple[int, ...]


def find_scales(
    infos: Mapping[str, TensorInfo], *, block: tuple[int, int] | None, label: str
) -> dict[str, Scale]:
    """The scales of every 8-bit float tensor that has some, by the tensor's name.

    block: rows and columns of a block where the config gives them. Raises UnsupportedTensor where
    the scales do not fit the weight, are no floats, or come with zero points.
    """
    found = {}
    for name, info in infos.items():
        beside = next((n for n in (f"{name}_scale_inv", f"{name}_scale") if n in infos), None)
        if info.dtype not in FLOAT8 or beside is None:
            continue
        scales = infos[beside]
        scale = _fitted(info.shape, beside, scales.shape, block or USUAL_BLOCK)
        if scale is None:
            raise UnsupportedTensor(
                f"{label}: {name} is {_times(info.shape)} and its scales {_times(scales.shape)}: "
                "neither one for all, nor one a row, nor one for each block of "
                f"{_times(block or USUAL_BLOCK)}; dequantise the checkpoint first"
            )
        if not scales.dtype.is_floating_point or f"{name}_zero_point" in infos:
            raise UnsupportedTensor(
                f"{label}: {name} has scales in {scales.dtype} or zero points, which are not "
                "understood; dequantise the checkpoint first"
            )
        found[name] = scale
    return found


def _fitted(
    shape: tuple[int, ...], name: str, scales: tuple[int, ...], block: tuple[int, int]
) -> Scale | None:
    axes = len(shape)
    if math.prod(scales) == 1:
        grid = (1,) * axes
    elif len(scales) == 1:  # one a row, without the axis of length 1
        grid = (*scales, *(1,) * (axes - 1))
    else:
        grid = scales
    if len(grid) != axes:
        return None
    covered = []
    # a block extends over rows and columns alone, not along an axis of experts before them
    for size, count, of in zip(shape, grid, ((1,) * axes + block)[2:], strict=True):
        if count == 1:
            covered.append(size)
        elif count == size:
            covered.append(1)
        elif count == math.ceil(size / of):
            covered.append(of)
        else:
            return None
    return Scale(name, grid, tuple(covered))


def hidden_names(scales: Mapping[str, Scale]) -> frozenset[str]:
    """The tensors that, where present, only serve scaled ones: scales, and those of activations."""
    return frozenset(_serving(scales))


def _serving(scales: Mapping[str, Scale]) -> Iterator[str]:
    for name, scale in scales.items():
        yield scale.name
        if name.endswith(".weight"):
            stem = name.removesuffix("weight")
            yield from (stem + suffix for suffix in _ACTIVATION_SCALES)


def scaled_block(
    stored: Shaped[Tensor, "block"],
    scales: Shaped[Tensor, "..."],
    scale: Scale,
    *,
    shape: tuple[int, ...],
    start: int,
) -> Float[Tensor, "block"]:
    """Entries of a flattened weight of a given shape, from entry `start`, times their scales."""
    columns, last = (shape or (1,))[-1], start + stored.numel()
    if last == start:
        return stored.float()
    rows = torch.arange(start // columns, math.ceil(last / columns))
    entries = torch.zeros(len(rows), columns)
    wanted = entries.view(-1)[start % columns :][: stored.numel()]
    wanted.copy_(stored)
    _scale_rows(entries, scales, scale, shape=shape, rows=rows)
    return wanted


def _scale_rows(
    entries: Float[Tensor, "rows columns"],
    scales: Shaped[Tensor, "..."],
    scale: Scale,
    *,
    shape: tuple[int, ...],
    rows: Shaped[Tensor, "rows"],
) -> None:
    """Multiplies rows of a weight in place; `rows` counts them over all axes but the last."""
    at, stride = torch.zeros_like(rows), 1
    for size, count, block in zip(
        shape[-2::-1], scale.grid[-2::-1], scale.block[-2::-1], strict=True
    ):
        at += rows % size // block * stride
        rows, stride = rows // size, stride * count
    across = (scale.grid or (1,))[-1]
    width = (scale.block or (1,))[-1]
    factors = scales.float().reshape(-1, across)[at]
    whole = entries.shape[1] // width
    # through views: scales expanded to the weight's shape would be a second weight in memory
    entries[:, : whole * width].unflatten(1, (whole, width)).mul_(factors[:, :whole, None])
    if entries.shape[1] % width:
        entries[:, whole * width :].mul_(factors[:, whole:])


def check_not_packed(
    infos: Mapping[str, TensorInfo], config: Mapping[str, Any], label: str
) -> None:
    """Raises UnsupportedTensor where the config says that weights are quantised, and the tensors
    show that they are packed: a name that only such weights have, or a matrix of integers."""
    method = quantisation_method(config)
    if method is None:
        return
    for name, info in infos.items():
        integers = name.endswith(".weight") and not info.dtype.is_floating_point
        if _PACKED.search(name) or (integers and len(info.shape) > 1):
            raise UnsupportedTensor(
                f"{label}: is quantised ({method}); give the full-precision model or dequantise "
                "it first"
            )


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "a number"
