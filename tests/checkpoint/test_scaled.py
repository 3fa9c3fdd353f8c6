"""8-bit floats with scales: their product, wherever and in whatever pieces it is read."""

import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from checkpoints import llama_tensors, matrices, moved, write_model
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

from weightlens.checkpoint.model import check_same_tensors
from weightlens.checkpoint.read import FolderWeights, MemoryWeights
from weightlens.errors import NonFiniteTensor, TensorMissing, UnsupportedTensor

E4M3 = torch.float8_e4m3fn
NAME = "model.layers.0.mlp.up_proj.weight"


def eights(*shape: int, dtype: torch.dtype = E4M3, seed: int = 3) -> Tensor:
    """Random 8-bit floats, small enough for either type."""
    generator = torch.Generator().manual_seed(seed)
    return (30 * torch.randn(shape, generator=generator)).to(dtype)


def scales(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(4)
    return (0.01 + torch.rand(shape, generator=generator)).to(dtype)


def block_scaled(tensors: Mapping[str, Tensor], *, block: int = 16) -> dict[str, Tensor]:
    """A checkpoint with its matrices in 8 bits, as the fine-grained quantisation has them."""
    out = dict(tensors)
    for name in matrices(tensors):
        m, n = tensors[name].shape
        grid = torch.zeros(-(-m // block), -(-n // block))
        for i in range(grid.shape[0]):
            for j in range(grid.shape[1]):
                cut = tensors[name][i * block : (i + 1) * block, j * block : (j + 1) * block]
                grid[i, j] = cut.float().abs().max() / 448
        expanded = grid.repeat_interleave(block, 0).repeat_interleave(block, 1)[:m, :n]
        out[name] = (tensors[name].float() / expanded).to(E4M3)
        out[f"{name}_scale_inv"] = grid
    return out


def write_scaled(folder: Path, tensors: Mapping[str, Tensor], *, block: int = 16) -> Path:
    write_model(folder, tensors)
    described = {"quant_method": "fp8", "weight_block_size": [block, block]}
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"quantization_config": described}))
    return folder


def test_each_block_is_multiplied_by_its_scale(tmp_path: Path) -> None:
    """3 x 3 in blocks of 2 x 2: whole at the upper left, cut short at the edges. 1.5 and -2 are
    8-bit floats, 1.5 · 2 = 3, -2 · 16 = -32."""
    weight = torch.full((3, 3), 1.5)
    weight[2, 2] = -2
    grid = torch.tensor([[2.0, 4.0], [8.0, 16.0]])
    save_file({NAME: weight.to(E4M3), f"{NAME}_scale_inv": grid}, tmp_path / "model.safetensors")
    described = {"quantization_config": {"weight_block_size": [2, 2]}}
    (tmp_path / "config.json").write_text(json.dumps(described))
    read = FolderWeights(tmp_path).read(NAME)
    assert read.tolist() == [[3, 3, 6], [3, 3, 6], [12, 12, -32]]
    assert read.dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("m", "n"), [(128, 256), (300, 200), (576, 130), (5, 7), (1, 129)])
def test_blocks_are_those_of_transformers(m: int, n: int, dtype: torch.dtype) -> None:
    """Its own dequantisation, in float32; blocks of 128 x 128 where nothing is said."""
    from transformers.integrations.finegrained_fp8 import _dequantize_fp8_weight

    weight, grid = eights(m, n), scales(-(-m // 128), -(-n // 128), dtype=dtype)
    expected = _dequantize_fp8_weight(weight, grid, [128, 128], torch.float32)
    read = MemoryWeights({NAME: weight, f"{NAME}_scale_inv": grid}, "memory").read(NAME)
    assert torch.equal(read, expected)


def test_what_transformers_quantises_reads_back(tmp_path: Path, generator: torch.Generator) -> None:
    """Up to the rounding to 3 bits after the point, 1/16 of each entry at most, and to 2⁻¹⁰ of the
    block's largest below the normal numbers of the type (subnormals are 2⁻⁹ apart, 448 at most)."""
    from transformers.integrations.finegrained_fp8 import Fp8Quantize

    config = SimpleNamespace(weight_block_size=[32, 16], scale_fmt=None)
    weight = torch.randn(64, 48, generator=generator) * torch.logspace(-2, 2, 48)
    saved = Fp8Quantize(SimpleNamespace(quantization_config=config)).convert({NAME: weight})
    save_file(saved, tmp_path / "model.safetensors")
    described = {"quantization_config": {"weight_block_size": [32, 16]}}
    (tmp_path / "config.json").write_text(json.dumps(described))
    read = FolderWeights(tmp_path).read(NAME)
    largest = saved[f"{NAME}_scale_inv"].repeat_interleave(32, 0).repeat_interleave(16, 1)
    assert ((read - weight).abs() <= weight.abs() / 16 + largest * 2**-10).all()


FORMS: dict[str, tuple[Tensor, Tensor]] = {
    "blocks": (eights(300, 200), scales(3, 2)),
    "blocks in bfloat16": (eights(300, 200), scales(3, 2, dtype=torch.bfloat16)),
    "blocks of two exponents": (eights(130, 130), scales(2, 2).to(torch.float8_e8m0fnu)),
    "one a row": (eights(6, 5), scales(6, 1)),
    "one a row, flat": (eights(6, 5), scales(6)),
    "one a column": (eights(6, 5), scales(1, 5)),
    "one": (eights(6, 5), scales()),
    "one, in a list": (eights(6, 5), scales(1)),
    "experts, blocks": (eights(3, 130, 140), scales(3, 2, 2)),
    "experts, one a row": (eights(3, 4, 5), scales(3, 4, 1)),
    "experts, one a column": (eights(3, 4, 5), scales(3, 1, 5)),
    "experts, one each": (eights(3, 4, 5), scales(3, 1, 1)),
    "the other type": (eights(6, 5, dtype=torch.float8_e5m2), scales(6, 1)),
    "a vector": (eights(7), scales(1)),
    "a number": (eights(), scales()),
    "empty": (eights(0, 5), scales(1)),
}


def expanded(grid: Tensor, shape: torch.Size) -> Tensor:
    """One scale an entry, written down independently: by the position of each entry."""
    if grid.numel() == 1:
        return grid.float().reshape(()).expand(shape)
    out = torch.empty(shape)
    for at in torch.cartesian_prod(*(torch.arange(s) for s in shape)).tolist():
        where = []
        for axis, position in enumerate(at):
            count = grid.shape[axis] if axis < grid.ndim else 1
            one_each = count == shape[axis]
            where.append(0 if count == 1 else position if one_each else position // 128)
        out[tuple(at)] = grid[tuple(where[: grid.ndim])].float()
    return out


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_the_product_entry_by_entry(form: str) -> None:
    weight, grid = FORMS[form]
    weights = MemoryWeights({"w": weight, "w_scale": grid}, "memory")
    assert weights.infos.keys() == weights.scaled == {"w"}
    assert torch.equal(weights.read("w"), weight.float() * expanded(grid, weight.shape))


@pytest.mark.parametrize("form", FORMS)
@given(data=st.data())
@settings(deadline=None, max_examples=20)
def test_a_block_is_what_it_is_in_the_whole(form: str, data: st.DataObject) -> None:
    weight, grid = FORMS[form]
    weights = MemoryWeights({"w": weight, "w_scale": grid}, "memory")
    start = data.draw(st.integers(0, weight.numel()))
    stop = data.draw(st.integers(start, weight.numel()))
    whole = weights.read("w").flatten()
    assert torch.equal(weights.read_block("w", start, stop), whole[start:stop])
    assert torch.equal(weights.stored_block("w", start, stop), whole[start:stop].bfloat16())


def test_a_folder_reads_like_a_state_dict_and_blocks_come_from_disk_alone(tmp_path: Path) -> None:
    tensors = {NAME: eights(300, 200), f"{NAME}_scale_inv": scales(3, 2)}
    save_file(tensors, tmp_path / "model.safetensors")
    folder, memory = FolderWeights(tmp_path), MemoryWeights(tensors, "memory")
    assert torch.equal(folder.read(NAME), memory.read(NAME))
    assert torch.equal(folder.read_block(NAME, 777, 50_001), memory.read(NAME).view(-1)[777:50_001])
    assert folder.infos == memory.infos


def test_a_scaled_checkpoint_has_the_names_of_its_base_and_counts_as_bfloat16(
    tmp_path: Path,
) -> None:
    base = llama_tensors(0, dtype=torch.bfloat16)
    saved = block_scaled(moved(base, 1))
    saved["model.layers.0.mlp.up_proj.input_scale"] = torch.ones(1)
    weights = FolderWeights(write_scaled(tmp_path / "eight", saved))
    plain = FolderWeights(write_model(tmp_path / "base", base))
    assert weights.infos == plain.infos
    check_same_tensors(plain, weights)
    assert weights.scaled == set(matrices(base))
    assert plain.scaled == frozenset()
    stored = weights.stored(NAME)
    assert stored.dtype == weights.infos[NAME].dtype == torch.bfloat16
    assert torch.equal(stored, weights.read(NAME).bfloat16())
    assert not torch.equal(stored.float(), weights.read(NAME))
    with pytest.raises(TensorMissing, match="no tensor called"):
        weights.stored(f"{NAME}_scale_inv")


def test_scales_of_what_is_not_in_8_bits_stay_in_sight() -> None:
    saved = {"w": torch.ones(2, 2), "w_scale": torch.ones(1), "x.input_scale": torch.ones(1)}
    weights = MemoryWeights(saved, "memory")
    assert weights.infos.keys() == saved.keys()
    assert weights.scaled == frozenset()
    assert weights.read("w").tolist() == [[1, 1], [1, 1]]


def test_reading_as_another_type_rounds_the_product() -> None:
    tensors = {NAME: eights(6, 5), f"{NAME}_scale": scales(6, 1)}
    exact = MemoryWeights(tensors, "memory").read(NAME)
    rounded = MemoryWeights(tensors, "memory", read_as=torch.float16).read(NAME)
    assert torch.equal(rounded, exact.half().float())
    assert not torch.equal(rounded, exact)
    tensors[f"{NAME}_scale"] = torch.tensor(1e6)
    with pytest.raises(NonFiniteTensor, match=r"beyond torch\.float16"):
        MemoryWeights(tensors, "memory", read_as=torch.float16).read(NAME)


@pytest.mark.parametrize(("where", "value"), [("weight", "NaN"), ("scale", "Inf")])
def test_what_is_not_finite_is_found(where: str, value: str) -> None:
    weight, scale = torch.ones(4, 4), torch.ones(4, 1)
    (weight if where == "weight" else scale)[2, 0] = float(value)
    weights = MemoryWeights({NAME: weight.to(E4M3), f"{NAME}_scale": scale}, "memory")
    with pytest.raises(NonFiniteTensor, match=f"up_proj.weight holds {value}"):
        weights.read(NAME)
    with pytest.raises(NonFiniteTensor):
        weights.read_block(NAME, 8, 9)
    assert weights.read_block(NAME, 0, 8).tolist() == [1] * 8


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        (torch.ones(3, 3), "300 x 200 and its scales 3 x 3: .* of 128 x 128; dequantise"),
        (torch.ones(200), "scales 200"),
        (torch.ones(1, 3, 2), "scales 1 x 3 x 2"),
        (torch.ones(3, 2, dtype=torch.uint8), "scales in torch.uint8"),
    ],
)
def test_scales_that_do_not_fit_are_refused_when_opened(grid: Tensor, message: str) -> None:
    tensors = {NAME: eights(300, 200), f"{NAME}_scale_inv": grid}
    with pytest.raises(UnsupportedTensor, match=message):
        MemoryWeights(tensors, "memory")


def test_zero_points_are_refused() -> None:
    tensors = {"w": eights(4, 4), "w_scale": scales(), "w_zero_point": torch.zeros(1)}
    with pytest.raises(UnsupportedTensor, match="zero points"):
        MemoryWeights(tensors, "memory")


def test_a_block_size_that_the_config_gives_is_believed(tmp_path: Path) -> None:
    """40 rows are 3 blocks of 16; they would be one of 128, and of 8 they would be five."""
    saved = block_scaled(llama_tensors(0))
    assert FolderWeights(write_scaled(tmp_path / "a", saved)).scaled
    with pytest.raises(UnsupportedTensor, match="each block of 8 x 8"):
        FolderWeights(write_scaled(tmp_path / "b", saved, block=8))
    with pytest.raises(UnsupportedTensor, match="each block of 128 x 128"):
        FolderWeights(write_model(tmp_path / "c", saved))


def merge(folder: Path, text: str) -> dict[str, Tensor]:
    from weightlens.merge.engine import run_merge

    (folder / "r.yaml").write_text(text)
    run_merge(folder / "r.yaml", folder / "out")
    return load_file(folder / "out" / "model.safetensors")


def test_a_merge_reads_the_product_and_writes_plain_weights(tmp_path: Path) -> None:
    """The mean of base and tuned, both in 8 bits; its entries are rounded once, to bfloat16."""
    tensors = llama_tensors(0)
    base = write_scaled(tmp_path / "base", block_scaled(tensors))
    tuned = write_scaled(tmp_path / "tuned", block_scaled(moved(tensors, 1)))
    out = merge(
        tmp_path,
        f"merge_method: task_arithmetic\nbase_model: {base}\n"
        f"models: [{{model: {tuned}, parameters: {{weight: 0.5}}}}]\n",
    )
    assert out.keys() == tensors.keys()
    a, b = FolderWeights(base), FolderWeights(tuned)
    for name in matrices(tensors):
        expected = a.read(name) + 0.5 * (b.read(name) - a.read(name))
        assert torch.equal(out[name], expected.bfloat16())
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert "quantization_config" not in config
    assert FolderWeights(tmp_path / "out").scaled == frozenset()


def test_a_merge_loads_in_transformers_without_a_quantiser(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    base = write_scaled(tmp_path / "base", block_scaled(llama_tensors(0)))
    out = merge(
        tmp_path, f"merge_method: linear\nmodels: [{{model: {base}, parameters: {{weight: 1}}}}]\n"
    )
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype="auto")
    assert torch.equal(model.state_dict()[NAME], out[NAME])


def test_overlap_with_a_plain_base_is_that_of_the_product(tmp_path: Path) -> None:
    from weightlens.survey.overlap import measure_overlap

    base = llama_tensors(0)
    plain = write_model(tmp_path / "base", base)
    tuned = write_scaled(tmp_path / "tuned", block_scaled(moved(base, 1)))
    product = FolderWeights(tuned)
    dense = {name: product.read(name) for name in product.infos}
    (ours,), (known,) = (measure_overlap(plain, [model]).models for model in (tuned, dense))
    for a, b in zip(ours.matrices, known.matrices, strict=True):
        assert (a.column, a.row) == (b.column, b.row)
        assert a.delta.norm == b.delta.norm
