"""What `output: adapter` refuses, before a byte is read where headers can tell."""

import json
import re
from pathlib import Path

import pytest
import torch
from checkpoints import Folders, llama_tensors
from merged_adapters import ONE_EACH, SUM, TASK_ARITHMETIC, config_of, merged, two_adapters
from safetensors.torch import load_file, save_file
from torch import Tensor

from weightlens.checkpoint.adapter import Adapter
from weightlens.checkpoint.read import FolderWeights
from weightlens.errors import InputError, NonFiniteTensor, RecipeError, UnsupportedTensor
from weightlens.merge.engine import run_merge

Q, K = (f"model.layers.0.self_attn.{x}_proj.weight" for x in "qk")


@pytest.fixture
def places(folders: Folders, tmp_path: Path) -> dict[str, Path]:
    """What recipes here call their models: a and b are adapters of different rank and scale."""
    return two_adapters(folders, tmp_path)


REFUSED = {
    "ties": (
        "merge_method: ties\nbase_model: {base}\nmodels:\n" + ONE_EACH,
        r"recipe:1: output: adapter: ties makes no sum.*output: model",
    ),
    "full weights": (
        TASK_ARITHMETIC + "models:\n"
        "- {{model: {full}, parameters: {{weight: 1}}}}\n",
        r"recipe:5: models\.0: .*full: is no adapter",
    ),
    "an adapter on other weights": (
        TASK_ARITHMETIC + "models:\n"
        "- {{model: {full}+{a}, parameters: {{weight: 1}}}}\n",
        r"models\.0: .*is no adapter on .*base, the base_model",
    ),
    "a sum as base": (
        "merge_method: task_arithmetic\nbase_model: {base}+{a}\nmodels:\n"
        "- {{model: {b}, parameters: {{weight: 1}}}}\n",
        r"recipe:3: base_model: .*is a sum, which PEFT cannot find",
    ),
    "no base": (
        "merge_method: linear\nmodels:\n- {{model: {base}+{a}, parameters: {{weight: 1}}}}\n",
        r"needs a base_model",
    ),
    "weights that scale the base": (
        "merge_method: linear\nbase_model: {base}\nparameters: {{normalize: false}}\nmodels:\n"
        "- {{model: {base}, parameters: {{weight: 0}}}}\n"
        "- {{model: {a}, parameters: {{weight: [1, 0.5]}}}}\n",
        r"recipe:4: parameters\.normalize: the weights of .* sum to .*, not 1",
    ),
    "slices": (
        "merge_method: task_arithmetic\nbase_model: {base}\nslices:\n- sources:\n"
        "  - {{model: {base}, layer_range: [0, 1]}}\n"
        "  - {{model: {a}, layer_range: [0, 1], parameters: {{weight: 1}}}}\n",
        r"recipe:4: slices: an adapter keeps the layers",
    ),
    "a chat template": (
        "merge_method: task_arithmetic\nbase_model: {base}\nchat_template: auto\nmodels:\n"
        + ONE_EACH,
        r"recipe:4: chat_template: an adapter has the vocabulary of its base",
    ),
    "nothing": (
        TASK_ARITHMETIC + "models:\n"
        "- {{model: {a}, parameters: {{weight: 0}}}}\n",
        r"no source has factors with a weight other than 0",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_no_adapter_holds_is_refused_before_a_byte_is_read(
    case: str, places: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, message = REFUSED[case]
    monkeypatch.setattr(FolderWeights, "_fill", lambda *_: pytest.fail("read"))
    with pytest.raises(RecipeError, match=message):
        merged(text, places, tmp_path / "out")
    assert not list(tmp_path.glob("out*"))


@pytest.mark.parametrize("output", ["model", "adapter"])
def test_neither_a_base_nor_a_step_is_made_on_the_way(
    output: str, places: dict[str, Path], tmp_path: Path
) -> None:
    """The first recipe makes what the second builds on."""
    first = f"name: first\noutput: {output}\n{SUM}".format(**places)
    second = "output: adapter\n" + SUM.replace("{base}", "first").format(**places)
    file = tmp_path / "recipes.yaml"
    file.write_text(f"{first}---\n{second}")
    message = {"model": "first is only made on the way", "adapter": "other recipes build on this"}
    with pytest.raises(RecipeError, match=message[output]):
        run_merge(file, tmp_path / "out")
    assert not list(tmp_path.glob("out*"))


def with_tensor(adapter: Path, key: str, tensor: Tensor) -> None:
    """Puts a further tensor into an adapter."""
    file = adapter / "adapter_model.safetensors"
    save_file(load_file(file) | {f"base_model.model.{key}": tensor}, file)


def test_dora_is_refused_unless_its_weight_is_0(places: dict[str, Path], tmp_path: Path) -> None:
    magnitude = f"{Q.removesuffix('.weight')}.lora_magnitude_vector"
    with_tensor(places["b"], magnitude, torch.ones(24))
    with pytest.raises(RecipeError, match=rf"models\.1: .*second: is DoRA on {re.escape(Q)}"):
        merged(SUM, places, tmp_path / "out")
    weight = "weight: [{{filter: q_proj, value: 0}}, {{value: 1}}]}}}}\n"
    without = SUM.removesuffix("weight: 1}}}}\n") + weight
    merged(without, places, tmp_path / "out")
    adapter = Adapter(tmp_path / "out")
    assert (adapter.factored(Q).rank, adapter.factored(K).rank) == (4, 7)


def test_replaced_tensors_without_a_place_in_an_adapter_are_refused(
    places: dict[str, Path], tmp_path: Path
) -> None:
    """A parameter of no layer; a module whose name is the end of another's."""
    base = llama_tensors(0) | {"model.scales": torch.ones(3), "head.weight": torch.ones(3)}
    base["model.head.weight"] = torch.ones(3)
    save_file(base, places["base"] / "model.safetensors", metadata={"format": "pt"})
    before = load_file(places["b"] / "adapter_model.safetensors")
    for key, message in (("model.scales", "no module's weight"), ("head.weight", "name ends like")):
        save_file(before, places["b"] / "adapter_model.safetensors")
        with_tensor(places["b"], key, torch.zeros(3))
        with pytest.raises(RecipeError, match=message):
            merged(SUM, places, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_one_adapter_has_one_orientation(places: dict[str, Path], tmp_path: Path) -> None:
    """K is not square: only Q reads either way."""
    for name, kept in (("a", Q), ("b", K)):
        file = places[name] / "adapter_model.safetensors"
        tensors = {k: t for k, t in load_file(file).items() if kept.removesuffix(".weight") in k}
        save_file(tensors, file)
    config = config_of(places["a"]) | {"fan_in_fan_out": True}
    (places["a"] / "adapter_config.json").write_text(json.dumps(config))
    with pytest.raises(UnsupportedTensor, match="inputs x outputs"):
        merged(SUM, places, tmp_path / "out")


def test_deltas_that_cancel_leave_no_adapter(places: dict[str, Path], tmp_path: Path) -> None:
    text = (
        TASK_ARITHMETIC + "models:\n"
        "- {{model: {a}, parameters: {{weight: 0.3}}}}\n"
        "- {{model: {base}+{a}, parameters: {{weight: -0.3}}}}\n"
    )
    with pytest.raises(InputError, match="no matrix has a delta to write"):
        merged(text, places, tmp_path / "out")
    assert not list(tmp_path.glob("out*"))


def test_numbers_beyond_the_dtype_leave_no_adapter(places: dict[str, Path], tmp_path: Path) -> None:
    text = "out_dtype: float16\n" + SUM.replace("weight: 1", "weight: 1.0e+9")
    with pytest.raises(NonFiniteTensor, match="wider dtype"):
        merged(text, places, tmp_path / "out")
    assert not list(tmp_path.glob("out*"))
