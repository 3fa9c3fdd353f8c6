"""mergekit's engine behind our face, and our methods behind mergekit's."""

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoints import Folders, llama_tensors, moved
from pydantic import BaseModel
from safetensors.torch import load_file
from torch import Tensor

from weightlens.checkpoint.layout import TensorInfo
from weightlens.checkpoint.selection import Selection
from weightlens.delta import Dense
from weightlens.errors import InputError, RecipeError
from weightlens.merge import mergekit_bridge
from weightlens.merge.mergekit_bridge import (
    chat_template,
    chat_template_names,
    known_methods,
    run_mergekit,
)
from weightlens.merge.mergekit_methods import PREFIX, STRIP, register_methods
from weightlens.merge.method import MergeMethod, PerSource, merged
from weightlens.merge.methods import METHODS
from weightlens.merge.streaming import Key
from weightlens.merge.transforms import Strip
from weightlens.merge.transforms.strip import strip
from weightlens.spectral.basis import factorise

FIRST, SECOND = ("<unk>", "one", "two", "three"), ("<unk>", "two", "four")
MATRIX = "model.layers.0.mlp.up_proj.weight"


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
    (warning,) = warnings
    assert warning.startswith("mergekit: Failed to copy tokenizer. The merge was still successful")
    assert [path.name for path in out.parent.iterdir()] == ["out"]
    cache = str(tmp_path / "cache")
    text = recipe(str(folders.full), tuned)
    expected = mergekits_own(text, tmp_path / "own", lora_merge_cache=cache)
    found = load_file(out / "model.safetensors")
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_what_mergekit_refuses_is_one_line_with_the_recipes_names(tmp_path: Path) -> None:
    first = speaking_model(tmp_path / "first", FIRST, 0)
    text = recipe("org/first", "org/first").replace("  parameters: {weight: 1.0}\n", "", 1)
    with pytest.raises(RecipeError) as caught:
        run_mergekit(text, tmp_path, models={"org/first": str(first)})
    (line,) = str(caught.value).splitlines()
    assert line.startswith("mergekit: Missing required parameter weight for org/first.")
    assert "mergekit-yaml RECIPE OUT -v" in line and str(tmp_path) not in line


def test_methods_of_other_packages_run(
    folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "their_package.py").write_text(
        "import torch\n"
        "from mergekit.merge_methods import TensorGroup, merge_method, register\n\n"
        "@merge_method(name='largest')\n"
        "def largest(group: TensorGroup) -> torch.Tensor:\n"
        "    return torch.stack(group.tensors).amax(0)\n\n"
        "register(largest)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    out = tmp_path / "out"
    out.mkdir()
    models = {"a": str(folders.base), "b": str(folders.full)}
    text = recipe("a", "b", method="largest")
    run_mergekit(text, out, models=models, plugins=["their_package"])
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
        assert list(out.parent.glob("out.adapters-*"))
        raise KeyboardInterrupt

    monkeypatch.setattr(mergekit_bridge.subprocess, "Popen", Watched)
    out = tmp_path / "merges" / "out"
    out.mkdir(parents=True)
    tuned = {"a": f"{folders.base}+{folders.adapter}"}
    with pytest.raises(KeyboardInterrupt):
        run_mergekit(recipe("a"), out, models=tuned, progress=interrupt)
    assert started[0].returncode == -signal.SIGKILL
    assert [path.name for path in out.parent.iterdir()] == ["out"]


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


def test_the_methods_listed_are_mergekits() -> None:
    from mergekit.merge_methods import registered_methods

    names = {method.spec.name for method in registered_methods()}
    assert known_methods() == {name for name in names if not name.startswith(PREFIX)}


def test_every_method_is_registered_once() -> None:
    from mergekit.merge_methods import registered_methods

    assert set(register_methods()) == {f"{PREFIX}{name}" for name in METHODS} | {STRIP}
    assert register_methods() == register_methods()
    assert set(register_methods()) <= {method.spec.name for method in registered_methods()}


def inputs(count: int = 3) -> list[Tensor]:
    base = llama_tensors(0)[MATRIX]
    return [base, *(moved({MATRIX: base}, seed)[MATRIX] for seed in range(1, count))]


def through_mergekit(
    method: str, tensors: list[Tensor], parameters: dict[str, Any], **more: Any
) -> Tensor:
    from mergekit.merge_methods import merge_tensors

    register_methods()
    return merge_tensors(tensors, method, parameters=parameters, **({"name": MATRIX} | more))


def needed(kind: type[MergeMethod]) -> dict[str, float]:
    """Values for the parameters that must be given."""
    return {
        key: 0.3 if key == "t" else 1.0
        for key, field in kind.model_fields.items()
        if field.is_required() or any(isinstance(m, PerSource) and m.needed for m in field.metadata)
    }


@pytest.mark.parametrize("name", METHODS)
def test_each_method_gives_our_own_bits(name: str) -> None:
    kind = METHODS[name]
    tensors = inputs(1 + min(kind.most or 2, 2) if kind.base != "ignored" else (kind.most or 3))
    given = needed(kind)
    base_index = None if kind.base == "ignored" else 0
    found = through_mergekit(f"{PREFIX}{name}", tensors, given, base_index=base_index)
    base, sources = (None, tensors) if base_index is None else (tensors[0], tensors[1:])
    values: dict[str, Any] = {}
    for key, field in kind.model_fields.items():
        each = next((m for m in field.metadata if isinstance(m, PerSource)), None)
        if each is not None:
            values[key] = (given.get(key, each.default),) * len(sources)
        elif key in given:
            values[key] = given[key]
    method = kind.model_validate(values)
    torch.manual_seed(67280421310721)  # torch's own, where nobody has given one
    assert torch.equal(found, merged(method, sources, base, key=Key(0, MATRIX)))


def test_parameters_keep_their_names_scopes_and_defaults() -> None:
    from mergekit.merge_methods import BasePolicy, ParameterScope, get

    register_methods()
    ties = {p.name: p for p in get("weightlens_ties").spec.parameters}
    assert ties["lambda"].default == 1.0 and ties["normalize"].default is True
    assert ties["weight"].required and ties["density"].default == 1.0
    assert ties["weight"].scope is ties["density"].scope is ParameterScope.NON_BASE
    assert ties["lambda"].scope is ParameterScope.SHARED
    linear, slerp = get("weightlens_linear").spec, get("weightlens_slerp").spec
    assert linear.contract.base is BasePolicy.IGNORED
    assert linear.input_parameters[0].scope is ParameterScope.INPUT
    assert slerp.contract.base is BasePolicy.REQUIRED and slerp.contract.max_non_base == 1
    stripping = {p.name for p in get(STRIP).spec.shared_parameters}
    assert stripping == {*Strip.model_fields, "normalize", "lambda"}
    assert [p.name for p in get(STRIP).spec.input_parameters] == ["weight"]


@pytest.mark.parametrize(
    ("name", "parameters", "said"),
    [
        ("weightlens_ties", {"weight": 1, "density": 2}, "density: .* or equal to 1, not 2"),
        (
            "weightlens_della",
            {"weight": 1, "density": 0.5, "epsilon": 0.7},
            "weightlens_della: epsilon 0.7 takes density",
        ),
        (STRIP, {"weight": 1}, "weightlens_strip: give exactly one of strength and target"),
        (STRIP, {"weight": 1, "strength": 1, "rank": 99}, "rank"),
    ],
)  # fmt: skip
def test_complaints_name_the_method_or_the_parameter(
    name: str, parameters: dict[str, Any], said: str
) -> None:
    with pytest.raises((InputError, ValueError), match=said):
        through_mergekit(name, inputs(2), parameters, base_index=0)


def test_draws_follow_mergekits_seed() -> None:
    tensors, given = inputs(2), {"weight": 1.0, "density": 0.5}
    method = METHODS["dare_linear"].model_validate({"weight": (1.0,), "density": (0.5,)})
    for seed, ours in ((5, 5), (0, 0), (67280421310721, 0)):
        torch.manual_seed(seed)
        found = through_mergekit("weightlens_dare_linear", tensors, given, base_index=0)
        assert torch.equal(found, merged(method, tensors[1:], tensors[0], key=Key(ours, MATRIX)))


def test_what_comes_out_has_the_dtype_that_went_in_and_was_made_in_float32() -> None:
    halves = [tensor.bfloat16() for tensor in inputs()]
    found = through_mergekit("weightlens_ties", halves, {"weight": 0.3}, base_index=0)
    method = METHODS["ties"].model_validate({"weight": (0.3, 0.3), "density": (1.0, 1.0)})
    wide = [tensor.float() for tensor in halves]
    assert torch.equal(found, merged(method, wide[1:], wide[0]).bfloat16())


def stripped(base: Tensor, tuned: Tensor, parameters: Strip) -> Tensor:
    """By the transform itself."""
    subspace = factorise(base).rounded().subspace(parameters.size)
    return base + strip(Dense(tuned - base), subspace, parameters).delta.dense()


@pytest.mark.parametrize(
    "parameters",
    [{"target": 0.0}, {"strength": 0.5, "rank": 3, "side": "both"},
     {"target": "chance", "energy": 0.3, "side": "either", "preserve_norm": True}],
)  # fmt: skip
def test_strip_is_our_strip(parameters: dict[str, Any]) -> None:
    base, tuned = inputs(2)
    found = through_mergekit(STRIP, [base, tuned], {"weight": 1.0} | parameters, base_index=0)
    expected = stripped(base, tuned, Strip.model_validate(parameters))
    assert torch.equal(found, expected)
    assert not torch.equal(found, tuned)


def test_strip_sums_weighted_deltas() -> None:
    base, *tuned = inputs()
    given = {"weight": [0.5, 0.25], "lambda": 2.0, "target": 0.0}
    found = through_mergekit(STRIP, [base, *tuned], given, base_index=0)
    parts = [stripped(base, t, Strip(target=0.0)) - base for t in tuned]
    torch.testing.assert_close(found, base + parts[0] + 0.5 * parts[1])


@pytest.mark.parametrize(
    "name", ["model.embed_tokens.weight", "lm_head.weight", "model.norm.weight"]
)
def test_strip_leaves_alone_what_our_engine_does(name: str) -> None:
    base = llama_tensors(0)[name]
    info = TensorInfo(tuple(base.shape), base.dtype)
    assert Selection().reason_to_skip(name, info) is not None
    given = {"weight": 1.0, "strength": 1.0}
    found = through_mergekit(STRIP, [base, base + 1], given, base_index=0, name=name)
    assert torch.equal(found, base + ((base + 1) - base))


def test_a_stack_of_matrices_is_stripped_one_by_one() -> None:
    name = "model.layers.0.mlp.experts.gate_up_proj"
    pairs = [inputs(2), [tensor * 2 for tensor in inputs(2)]]
    stacks = [torch.stack(tensors) for tensors in zip(*pairs, strict=True)]
    given = {"weight": 1.0, "target": 0.0}
    found = through_mergekit(STRIP, stacks, given, base_index=0, name=name)
    for one, (base, tuned) in zip(found, pairs, strict=True):
        assert torch.equal(one, stripped(base, tuned, Strip(target=0.0)))


def test_matrices_stored_the_other_way_are_turned_by_the_bases_config(tmp_path: Path) -> None:
    from mergekit.common import ModelReference

    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    ids = [ModelReference.parse(str(tmp_path)), ModelReference.parse("tuned")]
    base, tuned = inputs(2)
    found = through_mergekit(
        STRIP,
        [base.T.contiguous(), tuned.T.contiguous()],
        {"weight": 1.0, "target": 0.0},
        base_index=0,
        ids=ids,
        name="transformer.h.0.mlp.c_fc.weight",
    )
    assert torch.equal(found.T, stripped(base, tuned, Strip(target=0.0)))


Failure = Callable[[], Exception]


class _Tells(BaseModel):
    rank: int


def _validation_error() -> Exception:
    try:
        _Tells.model_validate({"rank": "many"})
    except ValueError as error:
        return error
    raise AssertionError


@pytest.mark.parametrize(
    ("failure", "kind", "said"),
    [
        (lambda: RuntimeError("bad\n  recipe"), "RecipeError", "mergekit: bad recipe"),
        (_validation_error, "RecipeError", "mergekit: rank: Input should be a valid integer"),
        (lambda: OSError("no config.json"), "CheckpointError", "mergekit: no config.json"),
        (lambda: OSError(28, "No space left"), "OutputError", "No space left"),
        (lambda: KeyError("x"), "InputError", "mergekit: KeyError: 'x'"),
        (lambda: ModuleNotFoundError("No module named 'mergekit'"), "InputError", "is missing"),
        (lambda: AssertionError(), "InputError", "AssertionError"),
    ],
)
def test_exceptions_become_ours(failure: Failure, kind: str, said: str) -> None:
    from weightlens.merge.mergekit_worker import as_ours

    found = as_ours(failure())
    assert type(found).__name__ == kind and said in str(found)
    assert as_ours(found) is found
