"""The catalogue that methods make of themselves, and recipes to begin with."""

from typing import Any

import pytest
import yaml

from weightlens.errors import InputError
from weightlens.merge.catalogue import MethodEntry, catalogue, explanations, method_entry
from weightlens.merge.methods import METHODS
from weightlens.merge.parameters import parameters_of
from weightlens.merge.resolution import parse_recipe
from weightlens.merge.template import template
from weightlens.merge.transforms import Strip

ENTRIES = {entry.name: entry for entry in catalogue().methods}
every_method = pytest.mark.parametrize("entry", ENTRIES.values(), ids=list(ENTRIES))


def test_every_method_and_strip_is_in_it_once() -> None:
    assert list(ENTRIES) == [*METHODS, "strip"]
    assert len(catalogue().methods) == len(ENTRIES)


@every_method
def test_every_parameter_is_explained_in_a_line_or_two(entry: MethodEntry) -> None:
    """A failure here asks for a clause `name: text` in the class's docstring."""
    assert entry.text and entry.passes in ("pointwise", "two-pass", "row-wise", "matrix")
    for parameter in entry.parameters:
        assert 5 < len(parameter.text) < 130, (entry.name, parameter.name, parameter.text)
        assert parameter.type


@pytest.mark.parametrize("name", METHODS)
def test_references_are_of_the_paper_that_mergekit_names(name: str) -> None:
    from mergekit.merge_methods import get

    url = get(name).spec.reference_url or ""
    if "arxiv.org" in url:
        assert url.rsplit("/", 1)[1] in (ENTRIES[name].reference or "")


def test_what_is_said_of_a_method() -> None:
    ties = ENTRIES["ties"]
    assert ties.reference == "Yadav et al. 2023, arXiv:2306.01708"
    assert (ties.base, ties.fewest, ties.most, ties.passes) == ("required", 1, None, "two-pass")
    found = {p.name: (p.each, p.needed, p.default) for p in ties.parameters}
    assert found["weight"] == (True, True, None)
    assert found["density"] == (True, False, 1.0)
    assert found["lambda"] == (False, False, 1.0)
    assert ENTRIES["dare_ties"].text != ENTRIES["dare_linear"].text


def test_parameters_of_strip_are_the_transforms_and_the_sums() -> None:
    names = [p.name for p in ENTRIES["strip"].parameters]
    own = parameters_of(METHODS["task_arithmetic"])
    assert names == [*Strip.model_fields, *own]
    kinds = {p.name: p.type for p in ENTRIES["strip"].parameters}
    assert kinds["target"] == "number or chance"
    assert kinds["side"] == "column, row, both, either"


def test_clauses_of_a_docstring() -> None:
    class Above:
        """c: of the parent; a: not this one."""

    class Method(Above):
        """a, b: both: one text (0.5
        or so); d as in Above.

        e: stands alone.
        """

    assert explanations(Method, list("abcde")) == {
        "a": "both: one text (0.5 or so)",
        "b": "both: one text (0.5 or so)",
        "c": "of the parent",
        "e": "stands alone",
    }


def test_an_unknown_method_is_answered_with_the_nearest() -> None:
    with pytest.raises(InputError, match=r"'tis' is no merge method; did you mean 'ties'\?"):
        method_entry("tis")


# --- templates ---


@every_method
def test_a_template_is_valid_as_it_stands_and_says_the_defaults(entry: MethodEntry) -> None:
    text = template(entry.name)
    resolution = parse_recipe(text)
    assert not resolution.warnings
    assert resolution.kind is METHODS.get(entry.name, METHODS["task_arithmetic"])
    assert all(len(row) <= 100 for row in text.splitlines())
    found = resolution.method(output="model.layers.0.mlp.up_proj.weight").model_dump(by_alias=True)
    for parameter in entry.parameters:
        assert f"{parameter.name}: " in text
        if parameter.default is not None and parameter.name in found:
            value = found[parameter.name]
            assert value == ((parameter.default,) * len(value) if parameter.each
                             else parameter.default)  # fmt: skip
    for transform in resolution.transforms:
        defaults = Strip(energy=0.5, target="chance")
        assert transform == defaults


@every_method
def test_every_comment_of_a_template_that_is_yaml_can_be_taken_in(entry: MethodEntry) -> None:
    """Each block behind an indented `#   key:` replaces, or adds to, what the template has."""
    text = template(entry.name)
    recipe = yaml.safe_load(text)
    for block in _commented(text):
        (key, value), *_ = block.items()
        changed: dict[str, Any] = dict(recipe)
        if key in ("slices", "transforms", "tokenizer_source", "chat_template"):
            changed[key] = value
            if key == "slices":
                del changed["models"]
                changed.setdefault("parameters", {})
                needed = [p.name for p in entry.parameters if p.needed]
                changed["parameters"] = dict.fromkeys(needed, 1.0) | changed["parameters"]
        else:
            changed["parameters"] = changed.get("parameters", {}) | {key: value}
        assert parse_recipe(yaml.safe_dump(changed)).groups, block


def _commented(text: str) -> list[dict[str, Any]]:
    """The commented blocks: each begins at a line `#   key:`."""
    rows = [row[4:] for row in text.splitlines() if row.startswith("#   ")]
    starts = [i for i, row in enumerate(rows) if not row.startswith((" ", "weightlens", "#"))]
    ends = [*starts[1:], len(rows)]
    return [yaml.safe_load("\n".join(rows[a:b])) for a, b in zip(starts, ends, strict=True)]


def test_the_commented_blocks_are_found() -> None:
    keys = [next(iter(block)) for block in _commented(template("ties"))]
    assert keys == ["weight"] * 3 + ["slices", "transforms", "tokenizer_source", "chat_template"]
    assert "transforms" not in template("linear")
    assert "  weight" not in template("arcee_fusion").replace("  weightlens", "")


def test_passthrough_begins_with_slices() -> None:
    assert len(parse_recipe(template("passthrough")).groups) == 2
