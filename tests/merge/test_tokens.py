"""Whose tokenizer the output has, how many rows its embeddings, and its chat template."""

import json
from pathlib import Path

import pytest
import torch
from checkpoints import llama_tensors, write_adapter
from worded import (
    EMBEDDINGS,
    added,
    linear,
    settle,
    tensors_of,
    worded,
    words,
    write_tokenizer,
)

from weightlens.errors import RecipeError, ShapeMismatch
from weightlens.merge.engine import run_merge
from weightlens.merge.foresight import plan_merge
from weightlens.merge.record import MergeReport, PlanReport


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """The same 32 words in a and a2, in b with 40 rows, in c with 36; and 33 words in d."""
    worded(tmp_path / "a", 1, words(32))
    worded(tmp_path / "a2", 5, words(32))
    worded(tmp_path / "b", 2, words(32), rows=40, template="{{ b }}")
    worded(tmp_path / "c", 3, words(32), rows=36, template="{{ b }}\n")
    worded(tmp_path / "d", 4, words(33), template="{{ d }}")
    return tmp_path


def written(models: Path, text: str) -> Path:
    file = models / "recipe.yaml"
    file.write_text(text)
    return file


def planned(models: Path, text: str) -> PlanReport:
    (plan,) = plan_merge(written(models, text))
    return plan


def merged(models: Path, text: str) -> MergeReport:
    return run_merge(written(models, text), models / "out")


def config_of(folder: Path) -> dict[str, object]:
    return json.loads((folder / "config.json").read_text())


@pytest.mark.parametrize("source", ["base", "union", "b", "embeddings"])
def test_one_vocabulary_needs_no_alignment_and_padding_is_cut(models: Path, source: str) -> None:
    """Rows that no token has are dropped; the mean is that of the rows that are left."""
    a, b = models / "a", models / "b"
    named = {"b": {"tokenizer_source": str(b)}, "embeddings": {"embeddings": "tokenizer"}}
    text = linear(b, a, **named.get(source, {"tokenizer_source": source}))
    assert planned(models, text).engine == "weightlens"
    assert merged(models, text).engine == "weightlens"
    out = tensors_of(models / "out")
    for name in EMBEDDINGS:
        expected = (tensors_of(b)[name][:32] + tensors_of(a)[name]) / 2
        assert torch.allclose(out[name], expected, atol=1e-6)
    assert config_of(models / "out")["vocab_size"] == 32
    assert config_of(b)["vocab_size"] == 40


def test_the_result_loads_in_transformers(models: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    merged(models, linear(models / "b", models / "c", tokenizer_source="base"))
    model = AutoModelForCausalLM.from_pretrained(models / "out")
    tokenizer = AutoTokenizer.from_pretrained(models / "out")
    assert model.get_input_embeddings().weight.shape[0] == len(tokenizer) == 32
    assert tokenizer.chat_template == "{{ b }}"
    (found,) = tokenizer(["w3 w31"])["input_ids"]
    assert found == [3, 31]


def test_the_donors_tokenizer_comes_along(models: Path) -> None:
    (models / "a" / "vocab.txt").touch()
    for name, file in (
        ("a", "tokenization_a.py"),
        ("b", "tokenization_b.py"),
        ("b", "tekken.json"),
    ):
        (models / name / file).touch()
    merged(models, linear(models / "a", models / "b", tokenizer_source=str(models / "b")))
    assert (models / "out" / "chat_template.jinja").read_text() == "{{ b }}"
    assert not (models / "out" / "vocab.txt").exists()
    assert not (models / "out" / "tokenization_a.py").exists()
    assert (models / "out" / "tokenization_b.py").exists()
    assert (models / "out" / "tekken.json").exists()
    of_b = json.loads((models / "b" / "tokenizer.json").read_text())
    assert json.loads((models / "out" / "tokenizer.json").read_text()) == of_b


def test_a_tokenizer_may_come_from_a_model_that_is_not_merged(models: Path) -> None:
    text = linear(models / "a", models / "a2", tokenizer_source=str(models / "b"))
    report = merged(models, text)
    assert [source.model for source in report.sources] == [str(models / "a"), str(models / "a2")]
    assert (models / "out" / "chat_template.jinja").read_text() == "{{ b }}"


def test_rows_are_cut_where_layers_are_stacked_too(models: Path) -> None:
    slices = [{"sources": [{"model": str(models / "b"), "layer_range": pair}]}
              for pair in ([0, 2], [1, 2])]  # fmt: skip
    text = {"merge_method": "passthrough", "slices": slices, "tokenizer_source": "base"}
    merged(models, json.dumps(text))
    assert tensors_of(models / "out")["lm_head.weight"].shape == (32, 24)
    assert config_of(models / "out")["vocab_size"] == 32
    assert config_of(models / "out")["num_hidden_layers"] == 3


def test_fewer_rows_than_tokens_are_refused(models: Path) -> None:
    worded(models / "a", 1, words(32), rows=31)
    text = linear(models / "b", models / "a", tokenizer_source="base")
    with pytest.raises(ShapeMismatch, match=r"of .*a has 31 rows, but the tokenizer 32 tokens"):
        planned(models, text)


def test_an_adapter_without_a_tokenizer_has_the_bases_words(models: Path) -> None:
    write_adapter(models / "lora", llama_tensors(0))
    plan = planned(models, added(models / "a", models / "lora", tokenizer_source="base"))
    assert (plan.engine, plan.reasons) == ("weightlens", [])


@pytest.mark.parametrize(
    ("others", "settings", "reason"),
    [
        ("d", {"tokenizer_source": "union"}, "the vocabularies of {a} and {d} differ"),
        ("d", {"tokenizer_source": "base"}, "the vocabularies of {a} and {d} differ"),
        ("d", {"embeddings": "tokenizer"}, "the vocabularies of {a} and {d} differ"),
        ("b", {"tokenizer": {"source": "union", "tokens": {"w1": {"source": "x", "force": True}}}},
         "tokenizer.tokens gives tokens embeddings of their own"),
        ("b", {"tokenizer": {"source": "base", "pad_to_multiple_of": 64}},
         "tokenizer.pad_to_multiple_of adds rows"),
        ("e", {"tokenizer_source": "base"}, "{e} has no tokenizer.json"),
        ("f", {"tokenizer_source": "f"}, "the tokens of {f} are not numbered without gaps"),
    ],
)  # fmt: skip
def test_tokens_that_have_to_be_aligned_are_mergekits(
    models: Path, others: str, settings: dict[str, object], reason: str
) -> None:
    for name in ("e", "f"):
        worded(models / name, 6, words(32))
    (models / "e" / "tokenizer.json").unlink()
    write_tokenizer(models / "f", {"<unk>": 0, "w2": 2})
    named = {name: str(models / name) for name in "abdef"}
    if settings.get("tokenizer_source") == "f":
        settings = {"tokenizer_source": named["f"]}
    plan = planned(models, linear(models / "a", models / others, **settings))
    assert plan.engine == "mergekit"
    assert reason.format(**named) in plan.reasons
    read = [t.nbytes for name in ("a", others) for t in tensors_of(models / name).values()]
    assert (plan.tensors, plan.bytes_read) == (21, sum(read))
    assert (plan.bytes_written, plan.peak_memory, plan.kinds) == (None, None, {})


def test_what_only_mergekit_can_align_and_only_we_can_strip_is_refused(models: Path) -> None:
    transform = [{"strip": {"side": "column", "energy": 0.5, "target": 0}}]
    text = added(models / "a", models / "d", tokenizer_source="union", transforms=transform)
    with pytest.raises(RecipeError, match=r"knows no strip and transforms, but has to run this"):
        merged(models, text)
    assert not list(models.glob("out*"))


def test_a_template_in_the_recipe_is_the_outputs(models: Path) -> None:
    settle(models / "a" / "tokenizer_config.json", chat_template="{{ a }}")
    expected = {
        "{{ written }}": "{{ written }}",
        str(models / "a"): "{{ a }}",
        "auto": "{{ a }}",
    }
    for asked, text in expected.items():
        recipe = written(models, linear(models / "a", models / "a2", chat_template=asked))
        run_merge(recipe, models / "out", overwrite=True)
        assert (models / "out" / "chat_template.jinja").read_text() == text
        said = json.loads((models / "out" / "tokenizer_config.json").read_text())
        assert "chat_template" not in said


def test_auto_is_what_most_models_have(models: Path) -> None:
    text = linear(models / "d", models / "b", models / "c", embeddings="common",
                  chat_template="auto")  # fmt: skip
    merged(models, text)
    assert (models / "out" / "chat_template.jinja").read_text() == "{{ b }}"


def test_auto_without_any_template_changes_nothing(models: Path) -> None:
    merged(models, linear(models / "a", models / "a2", chat_template="auto"))
    assert not (models / "out" / "chat_template.jinja").exists()


def test_templates_have_mergekits_names(models: Path) -> None:
    merged(models, linear(models / "a", models / "a2", chat_template="chatml"))
    assert "<|im_start|>" in (models / "out" / "chat_template.jinja").read_text()


@pytest.mark.parametrize(
    ("asked", "message"),
    [("chatmlx", r"recipe.yaml:1: chat_template: 'chatmlx' is no template; write its text, or one "
                 r"of auto, alpaca, chatml"),
     ("a", r"recipe.yaml:1: chat_template: .*a has none")],
)  # fmt: skip
def test_a_template_that_is_none_is_refused(models: Path, asked: str, message: str) -> None:
    if asked == "a":
        asked = str(models / "a")
    with pytest.raises(RecipeError, match=message):
        merged(models, linear(models / "a", models / "a2", chat_template=asked))
