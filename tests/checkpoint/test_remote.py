"""Weights of which only the headers are here, beside the same weights in a folder."""

import json
from pathlib import Path

import pytest
import torch
from checkpoints import llama_tensors
from safetensors.torch import save_file
from torch import Tensor

from weightlens.checkpoint.layout import DTYPE_NAMES
from weightlens.checkpoint.model import open_model
from weightlens.checkpoint.read import FolderWeights
from weightlens.checkpoint.remote import RemoteTensors, RemoteWeights
from weightlens.errors import CheckpointError, UnsupportedTensor

AT = "model.layers.0.mlp.up_proj"


def headers(tensors: dict[str, Tensor]) -> RemoteTensors:
    return {n: (DTYPE_NAMES[t.dtype], tuple(t.shape), "x") for n, t in tensors.items()}


@pytest.mark.parametrize("form", ["plain", "scaled", "transposed"])
def test_headers_are_taken_for_what_the_tensors_will_be(tmp_path: Path, form: str) -> None:
    tensors, config = llama_tensors(0), {"model_type": "llama"}
    if form == "scaled":
        tensors[f"{AT}.weight"] = tensors[f"{AT}.weight"].to(torch.float8_e4m3fn)
        tensors[f"{AT}.weight_scale"] = torch.ones(())
    if form == "transposed":
        tensors["h.0.attn.c_attn.weight"], config = torch.ones(4, 12), {"model_type": "gpt2"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    remote = RemoteWeights(tmp_path, headers(tensors), label="org/model")
    save_file(tensors, tmp_path / "model.safetensors")
    here = FolderWeights(tmp_path)
    assert remote.infos == here.infos
    assert (remote.scaled, remote.transposed) == (here.scaled, here.transposed)
    with pytest.raises(CheckpointError, match=r"org/model: .* not on this machine"):
        remote.stored(f"{AT}.weight")


def test_packed_weights_are_refused_before_they_are_downloaded(tmp_path: Path) -> None:
    config = {"quantization_config": {"quant_method": "gptq"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    packed = headers({f"{AT}.qweight": torch.zeros(4, 6, dtype=torch.int32)})
    with pytest.raises(UnsupportedTensor, match=r"org/model: is quantised \(gptq\)"):
        open_model(tmp_path, label="org/model", remote={tmp_path: packed})
