"""Merges that mergekit's engine carries out, behind the same folder and record."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from checkpoints import write_adapter
from safetensors.torch import save_file
from worded import EMBEDDINGS, added, linear, tensors_of, worded, words

from weightlens.errors import (
    CheckpointError,
    InputError,
    NonFiniteTensor,
    OutputError,
    RecipeError,
    ShapeMismatch,
    TensorMissing,
    UnsupportedTensor,
)
from weightlens.merge import bridged
from weightlens.merge.bridged import mergekit_text
from weightlens.merge.engine import run_merge
from weightlens.merge.foresight import plan_merge
from weightlens.merge.record import MergeReport
from weightlens.merge.resolution import parse_recipe


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """The words of a are also those of c; b has one more."""
    for seed, (name, count) in enumerate({"a": 32, "b": 33, "c": 32}.items(), start=1):
        worded(tmp_path / name, seed, words(count))
    return tmp_path


def written(models: Path, text: str) -> Path:
    file = models / "recipe.yaml"
    file.write_text(text)
    return file


def test_a_union_of_vocabularies_loads_in_transformers(models: Path) -> None:
    """Each token's row is the mean of those that have it. The template is one that mergekit would
    refuse: a model's name."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    (models / "b" / "chat_template.jinja").write_text("{{ b }}")
    text = linear(models / "a", models / "b", tokenizer_source="union", dtype="float32",
                  chat_template=str(models / "b"))  # fmt: skip
    seen: list[tuple[int, int]] = []
    report = run_merge(written(models, text), models / "out",
                       progress=lambda done, total, name: seen.append((done, total)))  # fmt: skip
    model = AutoModelForCausalLM.from_pretrained(models / "out")
    tokenizer = AutoTokenizer.from_pretrained(models / "out")
    rows = model.get_input_embeddings().weight
    assert rows.shape[0] == len(tokenizer) == 33
    assert tokenizer.chat_template == "{{ b }}"
    a, b = (tensors_of(models / name)["model.embed_tokens.weight"] for name in "ab")
    of_token = tokenizer.get_vocab()
    assert torch.allclose(rows[of_token["w3"]], (a[3] + b[3]) / 2, atol=1e-6)
    assert torch.allclose(rows[of_token["w32"]], b[32], atol=1e-6)
    record = json.loads((models / "out" / "weightlens.json").read_text())
    assert MergeReport.model_validate(record) == report
    assert (report.engine, report.plan, report.tensors) == ("mergekit", None, 21)
    assert report.bytes == sum(t.nbytes for t in tensors_of(models / "out").values())
    assert all(source.hash for source in report.sources)
    assert report.recipe == text
    assert (seen[-1], len(seen) >= 21) == ((21, 21), True)
    assert [f.name for f in models.glob("out*")] == ["out"]


def cut(models: Path) -> None:
    file = models / "b" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def reshape(models: Path) -> None:
    tensors = tensors_of(models / "b")
    tensors["model.norm.weight"] = torch.ones(7)
    save_file(tensors, models / "b" / "model.safetensors")


def drop(models: Path) -> None:
    tensors = tensors_of(models / "b")
    del tensors["model.norm.weight"]
    save_file(tensors, models / "b" / "model.safetensors")


@pytest.mark.parametrize(
    ("damage", "kind", "said"),
    [
        (cut, CheckpointError, "truncated"),
        (reshape, ShapeMismatch, r"model\.norm\.weight is 7 in .*b but"),
        (drop, TensorMissing, r"model\.norm\.weight is not in .*b"),
    ],
)
def test_what_headers_tell_is_known_before_mergekit_runs(
    models: Path, damage: Callable[[Path], None], kind: type[InputError], said: str
) -> None:
    damage(models)
    file = written(models, linear(models / "a", models / "b", tokenizer_source="union"))
    for attempt in (lambda: plan_merge(file), lambda: run_merge(file, models / "out")):
        with pytest.raises(kind, match=said):
            attempt()


def test_slices_beyond_a_model_are_known_before_mergekit_runs(models: Path) -> None:
    ranged = [{"model": str(models / n), "layer_range": [0, 9], "parameters": {"weight": 1}}
              for n in "ab"]  # fmt: skip
    recipe = {
        "merge_method": "linear",
        "slices": [{"sources": ranged}],
        "tokenizer_source": "union",
    }
    with pytest.raises(RecipeError, match=r"\[0, 9\] of .*a, which has 2 layers"):
        plan_merge(written(models, yaml.safe_dump(recipe)))


def test_nan_is_found_in_what_mergekit_made(models: Path) -> None:
    tensors = tensors_of(models / "b")
    tensors["model.norm.weight"][0] = torch.nan
    save_file(tensors, models / "b" / "model.safetensors")
    text = linear(models / "a", models / "b", tokenizer_source="union")
    with pytest.raises(NonFiniteTensor, match=r"model\.norm\.weight: the merge holds NaN"):
        run_merge(written(models, text), models / "out")
    assert not list(models.glob("out*"))


def test_an_adapter_alone_is_put_on_the_base(models: Path) -> None:
    everywhere = {"target_modules": "all-linear"}
    write_adapter(models / "lora", tensors_of(models / "a"), config=everywhere)
    file = written(models, added(models / "a", models / "lora", dtype="float32"))
    run_merge(file, models / "theirs", engine="mergekit")
    run_merge(file, models / "ours")
    left, right = tensors_of(models / "theirs"), tensors_of(models / "ours")
    assert all(torch.allclose(left[name], right[name], atol=1e-6) for name in right)
    write_adapter(models / "more", tensors_of(models / "a"), seed=6)
    two = added(f"{models / 'a'}+{models / 'lora'}", models / "more")
    with pytest.raises(RecipeError, match="one adapter on a model, not 2"):
        plan_merge(written(models, two), engine="mergekit")


def test_what_only_peft_understands_is_left_to_mergekit_where_asked(models: Path) -> None:
    settings = {"target_modules": "all-linear", "init_lora_weights": "pissa"}
    write_adapter(models / "lora", tensors_of(models / "a"), config=settings)
    file = written(models, linear(f"{models / 'a'}+{models / 'lora'}", models / "c"))
    with pytest.raises(UnsupportedTensor, match="a pissa adapter"):
        plan_merge(file)
    assert plan_merge(file, engine="mergekit")[0].engine == "mergekit"


def test_what_mergekit_wrote_is_read_back_where_asked(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that holds another bit than it was given."""
    file = written(models, linear(models / "a", models / "c"))
    run_merge(file, models / "whole", engine="mergekit", verify=True)
    again = iter([{"a": "1"}, {"a": "2"}])
    monkeypatch.setattr(bridged, "checksums_of", lambda folder: next(again))
    with pytest.raises(OutputError, match=r"is not on the disk as it was written \(1 differ"):
        run_merge(file, models / "out", engine="mergekit", verify=True)
    assert not list(models.glob("out*"))


def test_mergekits_engine_gives_the_numbers_of_ours(models: Path) -> None:
    text = linear(models / "a", models / "c", dtype="float32")
    theirs = run_merge(written(models, text), models / "theirs", engine="mergekit")
    ours = run_merge(written(models, text), models / "ours")
    assert (theirs.engine, ours.engine) == ("mergekit", "weightlens")
    assert (theirs.tensors, theirs.bytes) == (ours.tensors, ours.bytes)
    left, right = tensors_of(models / "theirs"), tensors_of(models / "ours")
    assert left.keys() == right.keys()
    assert all(torch.allclose(left[name], right[name], atol=1e-6) for name in left)


@pytest.mark.parametrize("error", [RecipeError("no"), KeyboardInterrupt(), MemoryError()])
def test_a_merge_that_fails_leaves_nothing(
    models: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def fail(text: str, folder: Path, **settings: object) -> tuple[str, ...]:
        (folder / "model.safetensors").write_bytes(b"half")
        raise error

    monkeypatch.setattr(bridged, "run_mergekit", fail)
    file = written(models, linear(models / "a", models / "b", tokenizer_source="union"))
    with pytest.raises(type(error)):
        run_merge(file, models / "out")
    assert not list(models.glob("out*"))


def test_our_own_engine_refuses_what_it_cannot_do(models: Path) -> None:
    file = written(models, linear(models / "a", models / "b", tokenizer_source="union"))
    with pytest.raises(RecipeError, match=r"recipe.yaml: only mergekit's engine can do this: "
                       r"the vocabularies of .*a and .*b differ"):  # fmt: skip
        run_merge(file, models / "out", engine="weightlens")
    assert not list(models.glob("out*"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"transforms": [{"strip": {"side": "row", "energy": 0.5, "target": 0}}]},
         r"knows no strip and transforms, but has to run this \(asked for\)"),
        ({"output": "adapter"}, "knows no output: adapter"),
    ],
)  # fmt: skip
def test_mergekits_engine_refuses_what_only_ours_can_do(
    models: Path, settings: dict[str, object], message: str
) -> None:
    file = written(models, added(models / "a", models / "c", **settings))
    with pytest.raises(RecipeError, match=message):
        run_merge(file, models / "out", engine="mergekit")
    assert not list(models.glob("out*"))


def test_mergekit_gets_the_very_text_where_it_can_read_it() -> None:
    text = f"# a comment\n{linear('a', 'b', tokenizer_source='union')}"
    assert mergekit_text(parse_recipe(text)) == text


def test_what_mergekit_does_not_know_is_left_out_of_its_text() -> None:
    text = linear("a", "b", name="x", chat_template="a", embeddings="tokenizer", output="model")
    assert yaml.safe_load(mergekit_text(parse_recipe(text))) == {
        "merge_method": "linear",
        "models": yaml.safe_load(text)["models"],
        "tokenizer_source": "base",
    }
    kept = linear("a", "b", embeddings="common", tokenizer={"source": "b", "pad_to_multiple_of": 8})
    assert yaml.safe_load(mergekit_text(parse_recipe(kept)))["tokenizer"]["source"] == "b"


def test_one_adapter_a_model_is_all_that_mergekit_takes(models: Path) -> None:
    lora = write_adapter(models / "lora", tensors_of(models / "a"))
    file = written(models, added(models / "a", f"{models / 'a'}+{lora}+{lora}"))
    with pytest.raises(RecipeError, match="puts one adapter on a model, not 2; merge them first"):
        run_merge(file, models / "out", engine="mergekit")
    assert not list(models.glob("out*"))


def test_the_output_is_kept_unless_told_otherwise(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And then until the new one is whole."""

    def merge(text: str, folder: Path, **settings: object) -> tuple[str, ...]:
        save_file({name: torch.ones(2) for name in EMBEDDINGS}, folder / "model.safetensors")
        if failing:
            raise RecipeError("no")
        return ("mergekit: a warning",)

    monkeypatch.setattr(bridged, "run_mergekit", merge)
    failing = False
    file = written(models, linear(models / "a", models / "c"))
    report = run_merge(file, models / "out", engine="mergekit")
    assert report.warnings == ["mergekit: a warning"]
    assert (report.tensors, report.bytes) == (2, 16)
    with pytest.raises(OutputError, match="--overwrite"):
        run_merge(file, models / "out", engine="mergekit")
    failing = True
    with pytest.raises(RecipeError, match="no"):
        run_merge(file, models / "out", engine="mergekit", overwrite=True)
    assert (models / "out" / "weightlens.json").exists()
    failing = False
    (models / "out" / "old").touch()
    run_merge(file, models / "out", engine="mergekit", overwrite=True)
    assert {f.name for f in (models / "out").iterdir()} == {"model.safetensors", "weightlens.json"}
    assert [f.name for f in models.glob("out*")] == ["out"]
