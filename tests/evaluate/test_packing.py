"""Packed layers give the bits of plain ones."""

import pytest
import torch
from torch import nn

from weightlens.evaluate.backends.packing import pack_linears
from weightlens.evaluate.chat import has_bfloat16


def model(dtype: torch.dtype) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(48, 80), nn.SiLU(), nn.Linear(80, 32, bias=False)).to(dtype)


@pytest.mark.skipif(not has_bfloat16(), reason="no bfloat16 instructions on this processor")
@pytest.mark.parametrize("rows", [1, 3, 16, 70])
def test_packed_layers_give_what_plain_ones_give(rows: int) -> None:
    given = torch.randn(rows, 5, 48).bfloat16()
    plain, packed = model(torch.bfloat16), model(torch.bfloat16)
    assert pack_linears(packed) == 2
    with torch.inference_mode():
        assert torch.allclose(packed(given).float(), plain(given).float(), atol=1e-2, rtol=1e-2)
        assert packed(given).shape == (rows, 5, 32)
    assert packed[0].weight.numel() == 0


def test_a_weight_that_another_module_has_too_is_kept() -> None:
    embedding, head = nn.Embedding(32, 48).bfloat16(), nn.Linear(48, 32, bias=False).bfloat16()
    head.weight = embedding.weight
    pack_linears(nn.ModuleList([embedding, head]))
    assert head.weight.shape == (32, 48)


def test_layers_in_float32_stay_as_they_are() -> None:
    assert pack_linears(model(torch.float32)) == 0
