"""The rules that a card's metadata is checked by: each is broken once."""

from pathlib import Path

import pytest

from weightlens.report.card_check import check_card

WHOLE = """\
base_model: [org/base, org/tuned]
base_model_relation: merge
library_name: transformers
license: other
license_name: our-licence
license_link: LICENSE
language: [en, de]
datasets: [org/words]
tags: [merge]
model-index:
- name: merged
  results:
  - task: {type: text-generation}
    dataset: {type: org/words, name: words}
    metrics: [{type: accuracy, value: 0.5, verified: false}]
"""


def checked(folder: Path, metadata: str) -> list[str]:
    (folder / "README.md").write_text(f"---\n{metadata}---\n\n# merged\n")
    (folder / "LICENSE").write_text("Do what is right.")
    return check_card(folder)


def test_a_card_in_order_has_no_problems(tmp_path: Path) -> None:
    assert checked(tmp_path, WHOLE) == []


@pytest.mark.parametrize(
    ("was", "becomes", "problem"),
    [
        ("license: other\n", "", "license is missing"),
        ("license: other\n", "license: unknown\n", "license is unknown"),
        ("license: other\n", "license: apache2\n", "did you mean 'apache-2.0'"),
        ("license_name: our-licence\n", "", "license_name is to be there"),
        ("link: LICENSE", "link: TERMS", "names TERMS, which is no address"),
        ("[org/base, org/tuned]", "/home/alice/base", "base_model '/home/alice/base' is no id"),
        ("relation: merge", "relation: merged", "base_model_relation 'merged' is none of"),
        ("[en, de]", "[english]", "language 'english' is no code"),
        ("[org/words]", "[null]", "datasets is to be a text or a list of texts"),
        ("[merge]", "[merge, '']", "tags is to be a text or a list of texts"),
        ("- name: merged", "- names: merged", "model-index[0].name is to be a text"),
        ("{type: text-generation}", "{}", "results[0].task.type is to be a text"),
        ("name: words}", "name: words, config: 3}", "dataset.config is to be a text, or left out"),
        ("[{type: accuracy, value: 0.5, verified: false}]", "[]", "metrics is to be a list of at"),
        ("value: 0.5, ", "", "metrics[0].value is missing"),
        ("verified: false", "verified: true", "only the Hub's own evaluation"),
    ],
)
def test_a_broken_rule_is_told_with_its_place(
    tmp_path: Path, was: str, becomes: str, problem: str
) -> None:
    assert was in WHOLE
    (found, *more) = checked(tmp_path, WHOLE.replace(was, becomes))
    assert problem in found and more == []


def test_no_card_no_metadata_and_no_yaml(tmp_path: Path) -> None:
    assert "weightlens card" in check_card(tmp_path)[0]
    (tmp_path / "README.md").write_text("# merged\n")
    assert "has no metadata" in check_card(tmp_path)[0]
    assert "cannot be read" in checked(tmp_path, "license: [\n")[0]
