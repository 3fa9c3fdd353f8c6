"""mergekit's engine behind our face."""

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoints import Folders
from safetensors.torch import load_file
from torch import Tensor

from weightlens.errors import InputError, RecipeError
from weightlens.merge import mergekit_bridge
from weightlens.merge.mergekit_bridge import chat_template, chat_template_names, run_mergekit

FIRST, SECOND = ("<unk>", "one", "two", "three"), ("<unk>", "two", "four")


def speaking_model(folder: Path, words: tuple[str, ...], seed: int) -> Path:
    """A tiny Llama whose tokenizer knows these words."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(words), hidden_size=16, intermediate_size=32, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    vocabulary = {word: i for i, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>").save_pretrained(folder)
    return folder


def recipe(*models: str, more: str = "", method: str = "linear") -> str:
    listed = "".join(f"- model: {m}\n  parameters: {{weight: 1.0}}\n" for m in models)
    return f"merge_method: {method}\nmodels:\n{listed}dtype: float32\n{more}"


def union(place: Path, out: Path, seen: list[tuple[int, int, str]]) -> Path:
    """The merge of two models with different vocabularies, in folders below `place`."""
    first = speaking_model(place / "first", FIRST, 0)
    second = speaking_model(place / "second@1+", SECOND, 1)
    out.mkdir(parents=True)
    (out / "marker").touch()
    run_mergekit(
        recipe("org/first", "org/second@v2", more="tokenizer_source: union\n"),
        out,
        models={"org/first": str(first), "org/second@v2": str(second)},
        progress=lambda *told: seen.append(told),
    )
    return out


def test_a_union_of_vocabularies_has_every_row_and_the_same_bytes_wherever_it_is_made(
    tmp_path: Path,
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    seen: list[tuple[int, int, str]] = []
    out = union(tmp_path / "here", tmp_path / "merges" / "out", seen)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(out), AutoTokenizer.from_pretrained(out)
    words = tokenizer.get_vocab()
    assert sorted(words, key=words.__getitem__) == ["<unk>", "one", "two", "three", "four"]
    places = [tmp_path / "here" / name / "model.safetensors" for name in ("first", "second@1+")]
    first, second = (load_file(place) for place in places)
    for name, parameter in model.named_parameters():
        a, b = first[name], second[name]
        if "embed" not in name and "lm_head" not in name:
            assert torch.equal(parameter, (a + b) / 2), name
            continue
        rows = {"<unk>": (a[0] + b[0]) / 2, "one": a[1], "two": (a[2] + b[1]) / 2, "three": a[3],
                "four": b[2]}  # fmt: skip
        assert len(parameter) == len(rows)
        for word, row in rows.items():
            assert torch.equal(parameter[words[word]], row), (name, word)
    tensors = len(list(model.named_parameters()))
    assert [told[:2] for told in seen] == [(done, tensors) for done in range(tensors + 1)]
    assert {told[2] for told in seen[1:]} == {name for name, _ in model.named_parameters()}
    assert [path.name for path in out.parent.iterdir()] == ["out"]
    files = {"marker", "config.json", "model.safetensors", "tokenizer.json",
             "tokenizer_config.json"}  # fmt: skip
    assert {path.name for path in out.iterdir()} == files
    assert all(str(tmp_path).encode() not in path.read_bytes() for path in out.iterdir())
    assert (out / "model.safetensors").stat().st_mode == (out / "config.json").stat().st_mode
    again = union(tmp_path / "there", tmp_path / "elsewhere" / "out", [])
    for path in out.iterdir():
        assert path.read_bytes() == (again / path.name).read_bytes(), path.name


def mergekits_own(text: str, out: Path, **options: Any) -> dict[str, Tensor]:
    """The same recipe by mergekit, in this process."""
    import yaml
    from mergekit.config import MergeConfiguration
    from mergekit.merge import run_merge
    from mergekit.options import MergeOptions

    settings = MergeOptions(write_model_card=False, quiet=True, **options)
    run_merge(MergeConfiguration.model_validate(yaml.safe_load(text)), str(out), settings)
    return load_file(out / "model.safetensors")


def test_linear_with_an_adapter_is_mergekits_own_and_warnings_come_back(
    folders: Folders, tmp_path: Path
) -> None:
    tuned = f"{folders.base}+{folders.adapter}"
    out = tmp_path / "merges" / "out"
    out.mkdir(parents=True)
    models = {"org/full": str(folders.full), "org/base+org/lora": tuned}
    warnings = run_mergekit(recipe(*models), out, models=models)
    # what transformers and peft say below it depends on the machine
    (warning,) = (line for line in warnings if line.startswith("mergekit: "))
    assert warning.startswith("mergekit: Failed to copy tokenizer. The merge was still successful")
    assert [path.name for path in out.parent.iterdir()] == ["out"]
    cache = str(tmp_path / "cache")
    text = recipe(str(folders.full), tuned)
    expected = mergekits_own(text, tmp_path / "own", lora_merge_cache=cache)
    found = load_file(out / "model.safetensors")
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_what_mergekit_refuses_is_one_line_with_the_recipes_names(
    folders: Folders, tmp_path: Path
) -> None:
    text = recipe("org/base", "org/full").replace("  parameters: {weight: 1.0}\n", "", 1)
    models = {"org/base": str(folders.base), "org/full": str(folders.full)}
    with pytest.raises(RecipeError) as caught:
        run_mergekit(text, tmp_path, models=models)
    (line,) = str(caught.value).splitlines()
    assert line.startswith("mergekit: Missing required parameter weight for org/base.")
    assert "mergekit-yaml RECIPE OUT -v" in line and str(folders.base.parent) not in line


def test_methods_of_other_packages_run(
    folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "their_package.py").write_text(
        "import logging\n"
        "import torch\n"
        "from mergekit.merge_methods import TensorGroup, merge_method, register\n\n"
        "@merge_method(name='largest')\n"
        "def largest(group: TensorGroup) -> torch.Tensor:\n"
        "    return torch.stack(group.tensors).amax(0)\n\n"
        "register(largest)\n"
        "logging.getLogger('their_package.methods').warning('not for\\nproduction')\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    out = tmp_path / "out"
    out.mkdir()
    models = {"a": str(folders.base), "b": str(folders.full)}
    text = recipe("a", "b", method="largest")
    warnings = run_mergekit(text, out, models=models, plugins=["their_package"])
    assert "their_package: not for production" in warnings
    base, full = (load_file(f / "model.safetensors") for f in (folders.base, folders.full))
    for name, tensor in load_file(out / "model.safetensors").items():
        assert torch.equal(tensor, torch.maximum(base[name], full[name]))


@pytest.mark.parametrize(
    ("ending", "said"),
    [
        ("import os; os.kill(os.getpid(), 9)", "want of memory"),
        ("import os; os.kill(os.getpid(), 15)", "signal 15"),
        ("import os, sys; print('disk on fire'); sys.stdout.flush(); os._exit(7)", "disk on fire"),
        ("raise MemoryError('no more')", "out of memory: no more"),
    ],
)
def test_a_process_that_ends_too_early_is_an_error(
    ending: str, said: str, folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "deadly.py").write_text(ending)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(InputError, match=said):
        run_mergekit(recipe("a"), tmp_path, models={"a": str(folders.base)}, plugins=["deadly"])


def test_an_interrupt_ends_the_process_and_leaves_nothing_beside(
    folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[subprocess.Popen[str]] = []

    class Watched(subprocess.Popen[str]):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            started.append(self)

    def interrupt(done: int, total: int, tensor: str) -> None:
        assert list(out.glob(".adapters-*"))
        raise KeyboardInterrupt

    monkeypatch.setattr(mergekit_bridge.subprocess, "Popen", Watched)
    out = tmp_path / "merges" / "out"
    out.mkdir(parents=True)
    tuned = {"a": f"{folders.base}+{folders.adapter}"}
    with pytest.raises(KeyboardInterrupt):
        run_mergekit(recipe("a"), out, models=tuned, progress=interrupt)
    assert started[0].returncode == -signal.SIGKILL
    assert [path.name for path in out.parent.iterdir()] == ["out"]
    assert not list(out.glob(".adapters-*"))


def test_references_are_found_wherever_a_recipe_may_name_a_model(folders: Folders) -> None:
    base, full = str(folders.base), str(folders.full)
    located = {"b": (base,), "x/y@r": (full,), "b+l": (base, str(folders.adapter))}
    long = {"model": {"path": "x/y", "revision": "r"}, "override_architecture": "Other"}
    written = {
        "base_model": "b",
        "parameters": {"model": "b"},
        "slices": [{"base_model": "b", "sources": [{"model": "b+l", "layer_range": [0, 1]}]}],
        "modules": {"model": {"models": [{"model": long}]}},
        "tokenizer_source": "union",
        "tokenizer": {
            "source": "x/y@r",
            "tokens": {
                "source": {"source": "b"},
                "model": {"source": {"kind": "model_token", "model": "b", "token": "model"}},
                "zero": {"source": {"kind": "zero"}, "force": True},
            },
        },
    }
    at_base, at_full = {"model": {"path": base}}, {"model": {"path": full}}
    tuned = at_base | {"lora": {"path": str(folders.adapter)}}
    assert mergekit_bridge._relocated(written, located) == {
        "base_model": at_base,
        "parameters": {"model": "b"},
        "slices": [{"base_model": at_base, "sources": [{"model": tuned, "layer_range": [0, 1]}]}],
        "modules": {"model": {"models": [{"model": at_full | {"override_architecture": "Other"}}]}},
        "tokenizer_source": "union",
        "tokenizer": {
            "source": at_full,
            "tokens": {
                "source": {"source": at_base},
                "model": {"source": {"kind": "model_token", "model": at_base, "token": "model"}},
                "zero": {"source": {"kind": "zero"}, "force": True},
            },
        },
    }


@pytest.mark.parametrize(
    ("text", "models", "said"),
    [
        ("models: [", {}, "not valid YAML"),
        ("[linear]", {}, "is a mapping"),
        (recipe("a", "b"), {"a": "."}, "b: named in the recipe, but not among the models"),
        (recipe("a"), {"a": "nowhere"}, "a: nowhere is no folder"),
        (recipe("a"), {"a": ".+.+."}, "one adapter a model"),
    ],
)
def test_what_is_wrong_at_once_is_told_at_once(
    text: str, models: dict[str, str], said: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=said):
        run_mergekit(text, tmp_path, models=models)


def test_chat_templates_are_read_without_importing_mergekit() -> None:
    assert {"chatml", "llama3", "mistral"} <= set(chat_template_names())
    for name in chat_template_names():
        assert "{" in (chat_template(name) or "")
    assert "<|im_start|>" in (chat_template("chatml") or "")
    assert chat_template("no such") is chat_template("../chat_templates/chatml") is None
    code = (
        "import sys; from weightlens.merge.mergekit_bridge import chat_template\n"
        "assert chat_template('chatml'); assert 'mergekit' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
