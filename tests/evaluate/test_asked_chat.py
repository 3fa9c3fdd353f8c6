"""A model that is asked: what it is told, what counts as said, and what is refused."""

import shutil
from pathlib import Path

import pytest
import torch
from embedded_models import EXACT, adapter_copy

from weightlens.errors import EvaluationError
from weightlens.evaluate.chat import Chat, Loading, has_bfloat16, load_chat, precision
from weightlens.experiment.tiny.shipped import SHIPPED


@pytest.fixture(scope="module")
def chat() -> Chat:
    return load_chat(SHIPPED / "base", loading=EXACT)


@pytest.mark.parametrize(
    ("rendered", "raw", "spoken"),
    [
        ("<u>?<a>", "five", "five"),
        ("<u>?<a>", " <think>2+3</think> five<e>", "five"),
        ("<u>?<a>", "<think>2+3</think>no: <think>3+3</think>six", "six"),
        ("<u>?<a>", "<think>2+3", ""),
        ("<u>?<a><think>\n", "2+3</think>five", "five"),
        ("<u>?<a><think>\n", "2+3 and so on", ""),
        ("<u>?<a>", "[THINK]2+3[/THINK]five", "five"),
        ("<u>?<a>", "[THINK]2+3", ""),
        ("<u>?<a>", "the tag </think> ends a thought", "ends a thought"),
    ],
)
def test_thinking_is_not_spoken(chat: Chat, rendered: str, raw: str, spoken: str) -> None:
    assert chat.words.spoken(rendered, raw) == spoken


def test_generated_text_ends_before_the_token_that_ends_it(chat: Chat) -> None:
    (end,) = chat.words.ends
    tokens = chat.words.encode("five")
    assert chat.words.said([*tokens, end, *tokens]) == "five"
    assert chat.words.said(tokens) == "five"
    assert chat.words.said([end]) == ""


def test_a_token_beyond_the_embedding_is_refused_and_named(tmp_path: Path) -> None:
    """The tokenizer knows one more token than the model has rows for."""
    folder = tmp_path / "m"
    shutil.copytree(SHIPPED / "base", folder)
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["<more>"])
    tokenizer.save_pretrained(folder)
    chat = load_chat(folder, loading=EXACT)
    rows = chat.model.get_input_embeddings().weight.shape[0]
    assert chat.words.encode(chat.render("16-7"))
    with pytest.raises(EvaluationError, match=rf"token {rows} \('<more>'\).*{rows} rows"):
        chat.words.encode("<more>")


def test_a_template_in_the_place_of_the_models_own(tmp_path: Path) -> None:
    folder = tmp_path / "m"
    shutil.copytree(SHIPPED / "base", folder)
    (folder / "chat_template.jinja").unlink()
    plain = Loading(device="cpu", chat_template="{{ messages[0]['content'] }} =")
    assert load_chat(folder, loading=plain).render("1+1") == "1+1 ="
    broken = Loading(device="cpu", chat_template="{{ messages[7]['content'] }}")
    with pytest.raises(EvaluationError, match="chat template fails"):
        load_chat(folder, loading=broken).render("1+1")


def test_16_bit_weights_are_computed_in_16_bits_where_the_processor_can(tmp_path: Path) -> None:
    at = Loading(device="cpu")
    wanted = torch.bfloat16 if has_bfloat16() else torch.float32
    assert precision(SHIPPED / "base", at) == wanted
    assert load_chat(SHIPPED / "base", loading=at).model.dtype == wanted
    assert precision(SHIPPED / "base", Loading(device="cpu", dtype="float16")) == torch.float16
    full = tmp_path / "full"
    shutil.copytree(SHIPPED / "base", full)
    config = (full / "config.json").read_text().replace('"bfloat16"', '"float32"')
    (full / "config.json").write_text(config)
    assert precision(full, at) == torch.float32


def test_a_sum_of_adapters_answers_as_the_model_that_overlap_measures(tmp_path: Path) -> None:
    """Logits against the weights that `Model.tensor` gives, PEFT's and ours independently."""
    from weightlens.checkpoint.model import open_model
    from weightlens.checkpoint.read import FolderWeights

    folder, base = SHIPPED / "base", FolderWeights(SHIPPED / "base")
    adapters = [adapter_copy(tmp_path / "a", scale=0.4), adapter_copy(tmp_path / "b", scale=0.3)]
    adapters.append(adapters[1])
    ids = torch.arange(12)[None]
    with torch.inference_mode():
        summed = load_chat(folder, adapters=adapters, loading=EXACT).model(ids).logits
        plain = load_chat(folder, loading=EXACT).model
        before = plain(ids).logits
        ours = open_model(folder, adapters=adapters)
        plain.load_state_dict({n: ours.tensor(n, base) for n in base.infos}, strict=False)
        assert torch.allclose(summed, plain(ids).logits, atol=1e-4)
        assert not torch.allclose(summed, before, atol=1e-2)


def test_sums_that_cannot_be_asked_are_refused(tmp_path: Path) -> None:
    from weightlens.errors import UnsupportedTensor

    lora = SHIPPED / "safe-lora"
    with pytest.raises(EvaluationError, match="adapters alone"):
        load_chat(lora, adapters=[lora])
    norm = {"base_model.model.model.norm.weight": torch.ones(128)}
    one = adapter_copy(tmp_path / "one", scale=1.0, **norm)
    with pytest.raises(UnsupportedTensor, match=r"model\.norm\.weight"):
        load_chat(SHIPPED / "base", adapters=[one, one])


def test_a_model_without_chat_template_is_refused(tmp_path: Path) -> None:
    shutil.copytree(SHIPPED / "base", tmp_path / "m")
    (tmp_path / "m" / "chat_template.jinja").unlink()
    with pytest.raises(EvaluationError, match="no chat template"):
        load_chat(tmp_path / "m")


def test_damaged_models_are_refused_rather_than_scored(tmp_path: Path) -> None:
    """transformers would fill what is missing with random numbers and answer anyway."""
    from safetensors.torch import load_file, save_file

    from weightlens.errors import AdapterMismatch, CheckpointError

    folder = tmp_path / "m"
    shutil.copytree(SHIPPED / "base", folder)
    file, name = folder / "model.safetensors", "model.layers.2.mlp.up_proj.weight"
    tensors = load_file(file)
    save_file({n: t for n, t in tensors.items() if n != name}, file, metadata={"format": "pt"})
    with pytest.raises(EvaluationError, match=rf"{name} is missing"):
        load_chat(folder)
    broken = tensors | {name: torch.full_like(tensors[name], torch.nan)}
    save_file(broken, file, metadata={"format": "pt"})
    with pytest.raises(EvaluationError, match=rf"{name} holds NaN"):
        load_chat(folder)
    file.write_bytes(file.read_bytes()[:-5])
    with pytest.raises(CheckpointError, match="truncated"):
        load_chat(folder)
    factors = load_file(SHIPPED / "safe-lora" / "adapter_model.safetensors")
    other = {n.replace("q_proj", "w_proj"): t for n, t in factors.items()}
    shutil.copytree(SHIPPED / "safe-lora", tmp_path / "a")
    save_file(other, tmp_path / "a" / "adapter_model.safetensors")
    with pytest.raises(AdapterMismatch, match="w_proj"):
        load_chat(SHIPPED / "base", adapters=[tmp_path / "a"])
    with pytest.raises(EvaluationError, match="foo"):
        load_chat(SHIPPED / "base", loading=Loading(device="foo"))
