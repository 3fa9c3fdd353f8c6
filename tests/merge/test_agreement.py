"""Sources that do not hold the same tensors: nothing is lost in silence."""

import pytest
import torch
from torch import Tensor

from weightlens.errors import RecipeError, ShapeMismatch, TensorMissing
from weightlens.merge.opening import hold_sources
from weightlens.merge.plan import make_plan
from weightlens.merge.resolution import parse_recipe
from weightlens.merge.state_dicts import merge_state_dicts

MODELS = "models: [{model: a}, {model: b}]\nparameters: {weight: 1}\n"
PAIR = "[{model: a, layer_range: [0, 2]}, {model: b, layer_range: [0, 2]}]"
MERGED = f"merge_method: linear\nslices:\n- sources: {PAIR}\nparameters: {{weight: 1}}\n"
STACKED = (
    "merge_method: passthrough\nslices:\n- sources: [{model: a, layer_range: [0, 2]}]\n"
    "- sources: [{model: b, layer_range: [1, 2]}]\n- sources: [{model: a, layer_range: [1, 2]}]\n"
)
WHOLE = "merge_method: linear\n" + MODELS


def model(**more: float) -> dict[str, Tensor]:
    """Two layers; `more` gives names, with __ for a dot, and values."""
    names = [f"model.layers.{i}.attn.weight" for i in range(2)]
    every = ["model.embed_tokens.weight", *names, "lm_head.weight"]
    tensors = {name: torch.ones(2, 2) for name in every}
    return tensors | {name.replace("__", "."): torch.full((2,), v) for name, v in more.items()}


def merged(text: str, a: dict[str, Tensor], b: dict[str, Tensor]) -> dict[str, Tensor]:
    found, _ = merge_state_dicts(parse_recipe(text), {"a": a, "b": b})
    return found


OLD = {
    "model__layers__0__self_attn__rotary_emb__inv_freq": 1.0,
    "model__layers__1__self_attn__rotary_emb__inv_freq": 1.0,
    "model__rotary_emb__inv_freq": 1.0,
}


@pytest.mark.parametrize("text", [WHOLE, MERGED, STACKED])
@pytest.mark.parametrize(("a", "b"), [(OLD, {}), ({}, OLD), (OLD, OLD)])
def test_what_models_compute_is_left_out_whoever_has_it(
    text: str, a: dict[str, float], b: dict[str, float]
) -> None:
    """As in mergekit; checkpoints of Llama 2 have it or not, as old as they are."""
    found = merged(text, model(**a), model(**b))
    assert len(found) == (6 if text == STACKED else 4)
    assert not any("inv_freq" in name for name in found)


@pytest.mark.parametrize("lead", ["a", "b"])
@pytest.mark.parametrize("name", ["transformer.h.0.attn.bias", "gpt_neox.layers.0.attention.bias"])
def test_masks_of_the_first_gpts_are_left_out_whoever_has_them(lead: str, name: str) -> None:
    """`gpt2` and Pythia on the Hub hold them, fine-tunes of today's transformers do not."""
    weight = name.removesuffix("bias") + "c_attn.weight"
    plain = {weight: torch.ones(2, 2), name.replace("bias", "c_attn.bias"): torch.ones(2)}
    masked = {**plain, name: torch.ones(3, 3).tril().view(1, 1, 3, 3)}
    models = {lead: masked, "ab".replace(lead, ""): plain}
    found, _ = merge_state_dicts(parse_recipe(WHOLE), models)
    assert list(found) == list(plain)


def test_a_bias_that_is_no_mask_is_kept() -> None:
    name = "model.layers.0.attn.bias"
    models = {label: {name: torch.full((4,), value)} for label, value in (("a", 1.0), ("b", 2.0))}
    found, _ = merge_state_dicts(parse_recipe(WHOLE), models)
    assert torch.equal(found[name], torch.full((4,), 1.5))


@pytest.mark.parametrize("text", [WHOLE, MERGED, STACKED])
def test_a_tensor_that_only_one_has_is_an_error(text: str) -> None:
    more = model(model__layers__1__attn__bias=1.0)
    for a, b, having, lacking in ((model(), more, "b", "a"), (more, model(), "a", "b")):
        with pytest.raises(TensorMissing, match=r"attn.bias") as caught:
            merged(text, a, b)
        assert having in str(caught.value) and lacking in str(caught.value)


def test_a_tensor_of_only_one_that_no_slice_takes_is_none() -> None:
    """The middle slice gives layers alone."""
    found = merged(STACKED, model(), model(model__extra__weight=1.0))
    assert "model.extra.weight" not in found
    with pytest.raises(TensorMissing, match=r"model.extra.weight is in b but not in a"):
        merged(MERGED, model(), model(model__extra__weight=1.0))


def test_an_output_layer_of_its_own_is_merged_with_the_embeddings_of_tied_ones() -> None:
    tied = {name: tensor for name, tensor in model().items() if name != "lm_head.weight"}
    assert "lm_head.weight" not in merged(MERGED, tied, model())
    own = model() | {"lm_head.weight": torch.zeros(2, 2)}
    for first, second in ((tied, own), (own, tied)):
        for text in (WHOLE, MERGED):
            found = merged(text, first, second)
            assert torch.equal(found["lm_head.weight"], torch.full((2, 2), 0.5))


@pytest.mark.parametrize("having", ["a", "b"])
def test_the_output_layer_of_gpt_2_may_be_saved_beside_the_embeddings_it_is_tied_to(
    having: str,
) -> None:
    """Pickles of transformers hold it, safetensors do not."""
    wte = "transformer.wte.weight"
    models = {label: {wte: torch.full((3, 2), value)} for label, value in (("a", 1.0), ("b", 3.0))}
    models[having]["lm_head.weight"] = models[having][wte].clone()
    found, _ = merge_state_dicts(parse_recipe(WHOLE), models)
    assert list(found) == list(models["a"])
    assert all(torch.equal(tensor, torch.full((3, 2), 2.0)) for tensor in found.values())


ENDS_IN_B = (
    "merge_method: passthrough\nslices:\n- sources: [{model: a, layer_range: [0, 1]}]\n"
    "- sources: [{model: b, layer_range: [0, 2]}]\n"
)


def test_a_stack_that_ends_in_a_tied_model_has_its_embeddings_for_output_layer() -> None:
    """The config of the first model, which is untied, promises an output layer."""
    tied = model()
    del tied["lm_head.weight"]
    tied["model.embed_tokens.weight"] = torch.full((2, 2), 7.0)
    untied = model() | {"lm_head.weight": torch.full((2, 2), 3.0)}
    found = merged(ENDS_IN_B, untied, tied)
    assert torch.equal(found["lm_head.weight"], tied["model.embed_tokens.weight"])
    assert torch.equal(found["model.embed_tokens.weight"], untied["model.embed_tokens.weight"])


def test_slices_of_other_widths_are_not_stacked() -> None:
    wide = {name: torch.ones(4, 4) for name in model()}
    with pytest.raises(ShapeMismatch, match=r"layers\.1\.attn\.weight of the stack has shape \(4"):
        merged(ENDS_IN_B, model(), wide)


def test_ends_of_other_vocabularies_are_not_stacked() -> None:
    more = model()
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        more[name] = torch.ones(3, 2)
    with pytest.raises(ShapeMismatch, match=r"embed_tokens.* has 2 rows and lm_head.weight 3"):
        merged(ENDS_IN_B, model(), more)


def test_a_stack_whose_tokens_are_aligned_may_end_in_another_vocabulary() -> None:
    """Mergekit, which aligns them, makes the rows of both ends alike."""
    more = model()
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        more[name] = torch.ones(3, 2)
    resolution = parse_recipe(ENDS_IN_B + "tokenizer_source: union\n")
    sources = hold_sources(resolution, {"a": model(), "b": more})
    assert len(make_plan(resolution, sources).jobs) == 5


def test_a_model_whose_own_ends_differ_may_be_stacked_on_itself() -> None:
    padded = model() | {"lm_head.weight": torch.ones(3, 2)}
    assert merged(ENDS_IN_B, padded, padded)["lm_head.weight"].shape == (3, 2)


def test_an_untied_head_that_equals_its_embeddings_is_a_head() -> None:
    """What the config says counts: a stack without it would be loaded with one drawn at random."""
    tied = {name: tensor for name, tensor in model().items() if name != "lm_head.weight"}
    assert "lm_head.weight" in merged(ENDS_IN_B, model(), tied)


def test_layers_that_differ_within_a_model_are_stacked() -> None:
    """As in models whose layers widen: the config says it layer by layer."""
    widening = model() | {"model.layers.1.attn.weight": torch.ones(4, 2)}
    assert merged(ENDS_IN_B, widening, widening)["model.layers.2.attn.weight"].shape == (4, 2)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("tokenizer_source: base\n", "state dicts have no tokenizer"),
        ("tokenizer: {source: union}\n", "state dicts have no tokenizer"),
        ("embeddings: tokenizer\n", "state dicts have no tokenizer"),
    ],
)
def test_what_needs_a_tokenizer_is_not_done_without(more: str, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        merged(WHOLE + more, model(), model())


def test_modules_are_not_merged_as_if_they_were_one() -> None:
    parts = "{models: [{model: a}]}, m: {models: [{model: b}]}"
    text = f"merge_method: linear\nmodules: {{l: {parts}}}\nparameters: {{weight: 1}}\n"
    with pytest.raises(RecipeError, match="not of state dicts: which tensors the modules l, m"):
        merged(text, model(), model())
