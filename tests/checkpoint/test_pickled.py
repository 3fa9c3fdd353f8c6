"""Pickled checkpoints: what is read from them, what is refused, and that nothing is executed."""

import os
import pickle
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from checkpoints import llama_tensors, pickle_model, write_model
from torch import Tensor

from weightlens.checkpoint.model import open_weights
from weightlens.checkpoint.pickled import PickledWeights, read_pickle, scan_pickled
from weightlens.errors import CheckpointError, UnsupportedTensor

AT = "model.layers.0.mlp.up_proj.weight"


def saved(folder: Path, found: object, **settings: bool) -> Path:
    torch.save(found, folder / "pytorch_model.bin", **settings)
    return folder


class Malicious:
    """Unpickled the ordinary way, it makes a folder."""

    def __init__(self, made: Path) -> None:
        self.made = made

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.made),)


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_values_are_those_that_were_saved(tmp_path: Path, shards: int, dtype: torch.dtype) -> None:
    tensors = llama_tensors(3, dtype=dtype)
    weights = open_weights(pickle_model(write_model(tmp_path, tensors), shards=shards))
    assert isinstance(weights, PickledWeights)
    assert set(weights.infos) == set(tensors)
    for name, tensor in tensors.items():
        assert torch.equal(weights.stored(name), tensor)
        assert torch.equal(weights.read_block(name, 5, 17), tensor.flatten()[5:17].float())
        assert (weights.infos[name].shape, weights.infos[name].dtype) == (tensor.shape, dtype)
    assert weights.config["model_type"] == "llama"


def test_files_are_mapped_and_what_is_read_is_a_copy(tmp_path: Path) -> None:
    folder = saved(tmp_path, {"w": torch.ones(3, 4)})
    weights = PickledWeights(folder)
    assert str(folder / "pytorch_model.bin") in Path("/proc/self/maps").read_text()
    for read in (weights.stored("w"), weights.stored_block("w", 0, 12)):
        read.zero_()
    assert torch.equal(weights.read("w"), torch.ones(3, 4))
    assert torch.equal(torch.load(folder / "pytorch_model.bin")["w"], torch.ones(3, 4))


def test_tied_tensors_read_alike_and_apart(tmp_path: Path) -> None:
    tensors = llama_tensors(0)
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"]
    weights = PickledWeights(saved(tmp_path, tensors))
    head, embedding = weights.stored("lm_head.weight"), weights.stored("model.embed_tokens.weight")
    assert torch.equal(head, embedding)
    assert head.data_ptr() != embedding.data_ptr()
    del tensors["lm_head.weight"]
    assert torch.equal(PickledWeights(saved(tmp_path, tensors)).stored("lm_head.weight"), head)


@pytest.mark.parametrize(
    "view",
    [
        lambda t: t.T,
        lambda t: t[1:4],
        lambda t: t[:, 1::2],
        lambda t: t.unflatten(1, (2, 4)).permute(2, 0, 1),
        lambda t: t[0, :1].expand(6),
        lambda t: t.bfloat16().T,
        lambda t: t.to(torch.int64).T,
    ],
    ids=["transposed", "rows", "columns", "permuted", "expanded", "bfloat16", "integers"],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_views_read_as_the_tensors_they_are(
    tmp_path: Path, view: Callable[[Tensor], Tensor], zipped: bool
) -> None:
    tensor = view(torch.arange(48.0).reshape(6, 8))
    folder = saved(tmp_path, {"w": tensor}, _use_new_zipfile_serialization=zipped)
    weights = PickledWeights(folder)
    stored = weights.stored("w")
    assert stored.is_contiguous()
    assert torch.equal(stored.float(), tensor.float())
    n = tensor.numel()
    for start, stop in ((0, n), (1, n - 1), (2, 3), (n, n)):
        block = weights.stored_block("w", start, stop)
        assert torch.equal(block.float(), tensor.flatten()[start:stop].float())


def test_a_view_of_8_bit_floats_reads_in_blocks(tmp_path: Path) -> None:
    tensor = torch.arange(48.0).reshape(6, 8).to(torch.float8_e4m3fn).T
    block = PickledWeights(saved(tmp_path, {"w": tensor})).stored_block("w", 3, 9)
    assert torch.equal(block.float(), tensor.float().flatten()[3:9])


def test_a_number_and_nothing_at_all_are_tensors_too(tmp_path: Path) -> None:
    tensors = {"one": torch.tensor(2.5), "none": torch.zeros(0, 4)}
    weights = PickledWeights(saved(tmp_path, tensors))
    assert all(torch.equal(weights.stored(name), t) for name, t in tensors.items())
    assert weights.stored_block("one", 0, 1).tolist() == [2.5]


def test_parameters_are_read_like_tensors(tmp_path: Path) -> None:
    weights = PickledWeights(saved(tmp_path, torch.nn.Linear(2, 3).state_dict(keep_vars=True)))
    assert not weights.read("weight").requires_grad


@pytest.mark.parametrize("key", ["state_dict", "model"])
def test_parameters_may_lie_under_a_key(tmp_path: Path, key: str) -> None:
    weights = PickledWeights(saved(tmp_path, {key: {"w": torch.ones(2)}, "epoch": 3}))
    assert weights.read("w").tolist() == [1, 1]


@pytest.mark.parametrize(
    ("found", "named"),
    [
        ([torch.ones(2)], "holds a list"),
        (torch.ones(2), "holds a Tensor"),
        ({}, "without tensor names"),
        ({"w": torch.ones(2), "epoch": 3}, r"holds 'epoch' \(int\) beside tensors"),
        ({"model": {"layers": {"w": torch.ones(2)}}}, r"holds 'model' \(dict\)"),
        ({"module": {"w": torch.ones(2)}}, r"holds 'module' \(dict\)"),
        ({k: {"w": torch.ones(2)} for k in ("state_dict", "model")}, r"'state_dict' \(dict\)"),
        ({3: torch.ones(2)}, "without tensor names"),
        ({str(i): i for i in range(9)}, r"'2' \(int\) and 6 more"),
    ],
)
def test_other_contents_are_named(tmp_path: Path, found: object, named: str) -> None:
    with pytest.raises(CheckpointError, match=f"{named}.*not a mapping from names to tensors"):
        PickledWeights(saved(tmp_path, found))


@pytest.mark.parametrize("zipped", [True, False])
def test_a_malicious_pickle_is_refused_and_not_executed(tmp_path: Path, zipped: bool) -> None:
    made = tmp_path / "made"
    found = OrderedDict(w=torch.ones(2), x=Malicious(made))
    saved(tmp_path, found, _use_new_zipfile_serialization=zipped)
    with pytest.raises(UnsupportedTensor, match=r"mkdir.*Nothing in it was executed.*safe_serial"):
        PickledWeights(tmp_path)
    assert not made.exists()
    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / "pytorch_model.bin")
    torch.load(tmp_path / "pytorch_model.bin", weights_only=False)
    assert made.exists()  # so the test would notice


@pytest.mark.parametrize("protocol", [2, 4])
def test_a_bare_pickle_is_not_executed_either(tmp_path: Path, protocol: int) -> None:
    made = tmp_path / "made"
    raw = pickle.dumps({"x": Malicious(made)}, protocol=protocol)
    (tmp_path / "pytorch_model.bin").write_bytes(raw)
    with pytest.raises((UnsupportedTensor, CheckpointError), match="Nothing in it was executed"):
        PickledWeights(tmp_path)
    assert not made.exists()


def test_no_variable_of_the_environment_lets_a_pickle_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    with pytest.raises(UnsupportedTensor, match="refused"):
        PickledWeights(saved(tmp_path, {"x": Malicious(tmp_path / "made")}))
    assert not (tmp_path / "made").exists()


def test_a_whole_module_is_refused_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedTensor, match=r"names torch\.nn\.modules\.linear\.Linear"):
        PickledWeights(saved(tmp_path, torch.nn.Linear(2, 2)))


def test_a_program_is_refused(tmp_path: Path) -> None:
    with warnings.catch_warnings(action="ignore"):  # scripting is deprecated
        torch.jit.script(torch.nn.Linear(2, 2)).save(str(tmp_path / "pytorch_model.bin"))
    with pytest.raises(UnsupportedTensor, match="is TorchScript, a program"):
        PickledWeights(tmp_path)


@pytest.mark.parametrize(
    ("tensor", "form"),
    [
        (torch.eye(2).to_sparse(), "sparse_coo"),
        (torch.ones(2, dtype=torch.complex64), "complex64"),
        (torch.ones(2, device="meta"), "on meta"),
    ],
)
def test_other_forms_of_tensors_are_refused(tmp_path: Path, tensor: Tensor, form: str) -> None:
    with pytest.raises(UnsupportedTensor, match=f"w is .*{form}"):
        PickledWeights(saved(tmp_path, {"w": tensor}))


class Forged:
    """Unpickled, a tensor of more entries than its storage has."""

    def __reduce__(self) -> tuple[Callable[..., Tensor], tuple[object, ...]]:
        storage = torch.ones(4)._typed_storage()
        return torch._utils._rebuild_tensor_v2, (storage, 0, (7,), (1,), False, OrderedDict())


def test_a_tensor_beyond_its_storage_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="damaged"):
        PickledWeights(saved(tmp_path, {"w": Forged(), "x": torch.ones(99)}))


def test_a_shape_that_the_file_cannot_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="more than the file holds"):
        PickledWeights(saved(tmp_path, {"w": torch.ones(1).expand(2**40)}))


@pytest.mark.parametrize("keep", [0, 3, 500, -1])
def test_a_truncated_file_is_an_error_of_the_input(tmp_path: Path, keep: int) -> None:
    file = saved(tmp_path, {"w": torch.ones(400)}) / "pytorch_model.bin"
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match="damaged"):
        PickledWeights(tmp_path)


def test_a_compressed_file_is_refused(tmp_path: Path) -> None:
    """Mapped, its bytes would be taken for numbers."""
    file = saved(tmp_path, {"w": torch.ones(400)}) / "pytorch_model.bin"
    with zipfile.ZipFile(file) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, part in parts.items():
            archive.writestr(name, part)
    with pytest.raises(CheckpointError, match="a compressed zip"):
        PickledWeights(tmp_path)


def test_a_missing_shard_and_a_misplaced_tensor_are_named(tmp_path: Path) -> None:
    pickle_model(write_model(tmp_path, llama_tensors(0)), shards=2)
    torch.save({"x": torch.ones(2)}, tmp_path / "pytorch_model-00001-of-00002.bin")
    with pytest.raises(CheckpointError, match=r"00001-of-00002\.bin: tensor .* is not in it"):
        scan_pickled(tmp_path)
    (tmp_path / "pytorch_model-00002-of-00002.bin").unlink()
    with pytest.raises(CheckpointError, match=r"00002-of-00002\.bin is missing"):
        scan_pickled(tmp_path)


def test_reading_a_file_tells_where_each_tensor_lies(tmp_path: Path) -> None:
    file = saved(tmp_path, {"w": torch.ones(2)}) / "pytorch_model.bin"
    assert read_pickle(file)["w"].file == file
