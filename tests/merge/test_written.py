"""Recipes as people write them: misspelt keys, leniency, YAML's corners."""

import pytest

from weightlens.errors import RecipeError
from weightlens.merge.methods.ties import Ties
from weightlens.merge.resolution import parse_recipe

HEAD = "merge_method: task_arithmetic\nbase_model: b\n"
MODELS = "models:\n- model: t\n  parameters: {weight: 0.5}\n"


# --- unknown keys, and leniency ---

TYPOS = """\
merge_method: ties
base_model: b
models:
- model: t
  wieght: 1
  parameters:
    weight:
    - {filtre: mlp, value: 0.5}
    - {value: 1}
    densty: 0.5
parameters:
  t: 0.5
  normalise: true
transforms:
- strip: {strength: 1, sied: row}
tokenizer: {source: base, pad: 8}
dytpe: float32
"""
EXPECTED = [
    "r.yaml:5: models.0.wieght: unknown key",
    "r.yaml:8: models.0.parameters.weight.0.filtre: unknown key; did you mean 'filter'?",
    "r.yaml:10: models.0.parameters.densty: unknown key; did you mean 'density'?",
    "r.yaml:12: parameters.t: belongs to another method",
    "r.yaml:13: parameters.normalise: unknown key; did you mean 'normalize'?",
    "r.yaml:15: transforms.0.strip.sied: unknown key; did you mean 'side'?",
    "r.yaml:16: tokenizer.pad: unknown key",
    "r.yaml:17: dytpe: unknown key; did you mean 'dtype'?",
]


def test_leniency_ignores_every_unknown_key_with_a_warning() -> None:
    resolution = parse_recipe(TYPOS, "r.yaml", lenient=True)
    assert sorted(
        w.removesuffix("; ignored").split(" (")[0] for w in resolution.warnings
    ) == sorted(EXPECTED)
    assert all(warning.endswith("ignored") for warning in resolution.warnings)
    assert resolution.method(output="mlp") == Ties(weight=(0.5,), density=(1.0,))


def test_without_leniency_each_of_them_is_an_error() -> None:
    lines = TYPOS.splitlines()
    for said in EXPECTED:
        if "another method" in said:
            continue
        number = int(said.split(":")[1])
        others = {int(e.split(":")[1]) for e in EXPECTED} - {number}
        text = "\n".join("#" if i in others else row for i, row in enumerate(lines, start=1))
        with pytest.raises(RecipeError) as caught:
            parse_recipe(text, "r.yaml")
        assert str(caught.value).startswith(said.split(";")[0].rsplit(":", 1)[0]), said


def test_parameters_of_other_methods_are_left_over_and_warned_of() -> None:
    others = "parameters: {t: 0.5, gamma: 0.1, select_topk: 0.2, max_iter: 3}\n"
    resolution = parse_recipe(HEAD + MODELS + others, "r.yaml")
    assert [w.split(": ")[1] for w in resolution.warnings] == [
        f"parameters.{name}" for name in ("t", "gamma", "select_topk", "max_iter")
    ]
    strip = (
        "merge_method: strip\nbase_model: b\n" + MODELS + "parameters: {target: 0, density: 1}\n"
    )
    assert parse_recipe(strip, "r.yaml").warnings == (
        "r.yaml:6: parameters.density: belongs to another method; ignored",
    )


def test_of_the_short_form_of_strip_what_is_misspelt_is_told_before_what_is_missing() -> None:
    head = HEAD.replace("task_arithmetic", "strip") + MODELS
    with pytest.raises(RecipeError, match=r"r.yaml:6: parameters.tagret: .*'target'"):
        parse_recipe(head + "parameters: {tagret: 0}\n", "r.yaml")
    text = head + "parameters: {target: 0, sied: row}\n"
    assert parse_recipe(text, "r.yaml", lenient=True).warnings == (
        "r.yaml:6: parameters.sied: unknown key; did you mean 'side'?; ignored",
    )


# --- YAML ---


@pytest.mark.parametrize(
    "text",
    [
        HEAD + MODELS + "parameters:\ntransforms:\ndtype:\ntokenizer:\n",
        (HEAD + MODELS).replace("\n", "\r\n"),
        "\ufeff" + HEAD + MODELS,
        "---\n# first\n" + HEAD + MODELS + "...\n",
        HEAD + "models:\n- {model: t, parameters: &p {weight: 5e-1}}\n",
        HEAD + "models: [{model: t, parameters: {<<: {weight: 0.5}}}]\n",
        "{merge_method: task_arithmetic, base_model: b, models: [{model: t}], "
        "parameters: {weight: '0.5'}}",
    ],
)
def test_the_same_recipe_in_other_words(text: str) -> None:
    resolution = parse_recipe(text)
    assert resolution.method() == parse_recipe(HEAD + MODELS).method()
    assert not resolution.warnings


def test_a_source_whose_parameters_are_empty_has_the_shared_ones() -> None:
    """As a key with nothing after it is read by mergekit."""
    text = HEAD + "models:\n- model: t\n  parameters:\nparameters: {weight: 2}\n"
    assert parse_recipe(text).method().model_dump()["weight"] == (2.0,)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEAD + MODELS + "1: 2\n", r"r.yaml:6: 1: a key is a word"),
        (HEAD + MODELS + "parameters:\n  1: 2\n", r"r.yaml:7: parameters.1: a key is a word"),
        (HEAD + MODELS + "parameters: [1]\n", r"r.yaml:6: parameters: .*dictionary"),
        (HEAD + MODELS + "? [a, b]\n: 1\n", r"r.yaml:6: a key is a word"),
        (HEAD + MODELS + "dtype: !!python/name:os.system x\n", r"r.yaml:6: not valid YAML"),
        (HEAD + "models:\n- t\n", r"r.yaml:4: models.0: "),
        (HEAD + "models: t\n", r"r.yaml:3: models: .*list"),
        (HEAD + "models:\n- {}\n", r"r.yaml:4: models.0: model is missing"),
        (HEAD + "models:\n- model: t\n  model: u\n", r"r.yaml:5: .*given twice \(first in line 4"),
        (HEAD + "models:\n- {model: t, parameters: {weight: 2020-01-01}}\n", r"must be a number"),
        (HEAD + "models:\n- {model: t, parameters: {weight: []}}\n", r"an empty list"),
        (
            HEAD + "models:\n- {model: t, parameters: &p {weight: x}}\n"
            "- {model: u, parameters: {<<: *p}}\n",
            r"r.yaml:4: models.0.parameters.weight: .*number",
        ),
        (
            HEAD + "models:\n- {model: t, parameters: {weight: {value: {value: 1}}}}\n",
            r"r.yaml:4: models.0.parameters.weight.value: filters do not nest",
        ),
    ],
)
def test_what_cannot_be_read_is_told_with_its_line(text: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        parse_recipe(text, "r.yaml")


@pytest.mark.parametrize("lenient", [False, True])
@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("null", "modules.null: a key is a word"),
        ("1.5", "modules.1.5: a key is a word"),
        ("2020-01-01", "modules.2020-01-01: a key is a word"),
        ("!!binary aGk=", "modules.aGk=: a key is a word"),
        ("[a]", "modules: a key is a word"),
        (r'"\ud83d\ude00"', "modules: a .u escape is half a character"),
    ],
)
def test_a_key_that_is_no_word_is_told_of_lenient_or_not(
    key: str, said: str, lenient: bool
) -> None:
    text = f"merge_method: linear\nmodules:\n  ? {key}\n  : {{value: [], models: [{{model: t}}]}}\n"
    with pytest.raises(RecipeError, match=f"r.yaml:3: {said}"):
        parse_recipe(text, "r.yaml", lenient=lenient)


def test_half_a_character_is_told_of_and_a_whole_one_is_kept() -> None:
    for written in ('"a \\U0001f600"', '"a \U0001f600"'):
        found = parse_recipe(HEAD + MODELS + f"chat_template: {written}\n")
        assert found.recipe.chat_template == "a \U0001f600"
    with pytest.raises(RecipeError, match=r"r.yaml:6: chat_template: a .u escape is half a char"):
        parse_recipe(HEAD + MODELS + 'chat_template: "a \\ud83d\\ude00"\n', "r.yaml")


def aliases(levels: int, link: str) -> str:
    """So many levels, each with nine aliases of the one below: `link` says how it holds them."""
    lines = ["a0: &a0 {x: 1}"]
    for i in range(1, levels):
        held = link.format(", ".join([f"*a{i - 1}"] * 9))
        lines.append(f"a{i}: &a{i} {held}")
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("link", ["[{}]", "{{<<: [{}]}}", "{{? [{}] : 1}}"])
def test_aliases_of_aliases_are_refused_before_they_are_written_out(link: str) -> None:
    message = "says more than 100,000 things" if "?" not in link else "a key is a word"
    with pytest.raises(RecipeError, match=f"^r.yaml:.* {message}"):
        parse_recipe(aliases(15, link), "r.yaml")
