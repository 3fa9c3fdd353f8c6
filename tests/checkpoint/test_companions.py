"""What lies beside the weights, and what of it goes along with weights in full precision."""

import json
from pathlib import Path

import pytest
import torch

from weightlens.checkpoint.companions import companions, copy_companions
from weightlens.errors import CheckpointError

PLAIN = {"model_type": "llama", "hidden_size": 24}
FP8 = {"quant_method": "fp8", "weight_block_size": [128, 128]}


def copied(folder: Path, text: str, *, dtype: torch.dtype | None = None) -> str:
    """The text of a config.json after it was copied."""
    (folder / "out").mkdir()
    (folder / "config.json").write_text(text)
    copy_companions(folder, folder / "out", dtype=dtype)
    return (folder / "out" / "config.json").read_text()


def test_a_plain_config_is_copied_byte_by_byte(tmp_path: Path) -> None:
    text = '{"hidden_size":24,   "model_type": "llama"}'
    assert copied(tmp_path, text) == text


@pytest.mark.parametrize("key", ["quantization_config", "compression_config"])
def test_plain_weights_have_a_config_that_speaks_of_no_quantisation(
    tmp_path: Path, key: str
) -> None:
    config = json.loads(copied(tmp_path, json.dumps(PLAIN | {key: FP8})))
    assert config == PLAIN


def test_nor_does_the_config_of_their_language_model(tmp_path: Path) -> None:
    nested = {"text_config": PLAIN | {"quantization_config": FP8}, "vision_config": {"depth": 2}}
    config = json.loads(copied(tmp_path, json.dumps(nested)))
    assert config == {"text_config": PLAIN, "vision_config": {"depth": 2}}


@pytest.mark.parametrize("key", ["dtype", "torch_dtype"])
def test_the_dtype_written_is_named_under_the_key_that_is_there(tmp_path: Path, key: str) -> None:
    given = PLAIN | {key: "float32", "quantization_config": FP8}
    config = json.loads(copied(tmp_path, json.dumps(given), dtype=torch.bfloat16))
    assert config == PLAIN | {key: "bfloat16"}


def test_a_config_without_a_dtype_gets_one(tmp_path: Path) -> None:
    config = json.loads(copied(tmp_path, json.dumps(PLAIN), dtype=torch.float16))
    assert config == PLAIN | {"dtype": "float16"}


def test_no_config_is_made_where_there_was_none(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "tokenizer.json").write_text("{}")
    copy_companions(tmp_path, tmp_path / "out", dtype=torch.float16)
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["tokenizer.json"]


def test_a_damaged_config_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="not valid JSON"):
        copied(tmp_path, "{")


def test_files_about_quantised_weights_stay_behind(tmp_path: Path) -> None:
    for name in ("quantize_config.json", "quant_config.json", "hf_quant_config.json",
                 "tokenizer.json", "model.safetensors.index.json", "README.md"):  # fmt: skip
        (tmp_path / name).write_text("{}")
    assert [file.name for file in companions(tmp_path)] == ["tokenizer.json"]


def test_chat_templates_in_a_folder_go_along(tmp_path: Path) -> None:
    (tmp_path / "additional_chat_templates").mkdir()
    (tmp_path / "additional_chat_templates" / "tool.jinja").write_text("{{ x }}")
    copied(tmp_path, "{}")
    assert (tmp_path / "out" / "additional_chat_templates" / "tool.jinja").read_text() == "{{ x }}"


def test_changes_go_into_the_config(tmp_path: Path) -> None:
    model, out = tmp_path / "model", tmp_path / "out"
    for folder in (model, out):
        folder.mkdir()
    (model / "config.json").write_text(json.dumps({"text_config": {"vocab_size": 9}, "x": 1}))
    copy_companions(model, out, dtype=None, changes={"vocab_size": 7})
    assert json.loads((out / "config.json").read_text()) == {
        "text_config": {"vocab_size": 7}, "x": 1,
    }  # fmt: skip


def test_another_models_tokenizer_comes_whole_and_alone(tmp_path: Path) -> None:
    model, donor, out = (tmp_path / name for name in ("model", "donor", "out"))
    for folder in (model, donor, out):
        folder.mkdir()
    for name in ("config.json", "generation_config.json", "tokenizer.json", "vocab.txt"):
        (model / name).write_text('{"of": "model"}')
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "merges.txt"):
        (donor / name).write_text('{"of": "donor", "chat_template": "{{ x }}"}')
    for folder in (model, donor):
        (folder / "additional_chat_templates").mkdir()
        (folder / "additional_chat_templates" / f"{folder.name}.jinja").touch()
    copy_companions(model, out, dtype=None, tokenizer=donor, chat_template="{{ y }}")
    of = {
        file.name: json.loads(file.read_text())["of"]
        for file in out.iterdir()
        if file.suffix in (".json", ".txt")
    }
    assert of == {"config.json": "model", "generation_config.json": "model",
                  "tokenizer.json": "donor", "tokenizer_config.json": "donor",
                  "merges.txt": "donor"}  # fmt: skip
    assert [f.name for f in (out / "additional_chat_templates").iterdir()] == ["donor.jinja"]
    assert (out / "chat_template.jinja").read_text() == "{{ y }}"
    assert "chat_template" not in json.loads((out / "tokenizer_config.json").read_text())
    assert "chat_template" in json.loads((donor / "tokenizer_config.json").read_text())
