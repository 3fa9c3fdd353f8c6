"""The card of a merge of models from the Hub: they are linked, and their own cards are asked."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from checkpoints import llama_tensors, moved, write_model
from huggingface_hub import ModelCard
from loopback import Hub, serving
from worded import added

from weightlens.merge.engine import run_merge
from weightlens.report.card import draft_card, write_card

OWN = "---\nlicense: other\nlicense_name: ours\nlicense_link: LICENSE\nlanguage: false\n---\n"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """A Hub with org/base and org/tuned, each with a card."""
    base = llama_tensors(0)
    write_model(tmp_path / "base", base)
    write_model(tmp_path / "tuned", moved(base, 1))
    with serving() as hub, hub.in_use(monkeypatch, tmp_path / "hub-cache"):
        for name in ("base", "tuned"):
            (tmp_path / name / "README.md").write_text(OWN)
            hub.add(f"org/{name}", tmp_path / name)
        yield hub


@pytest.fixture
def folder(hub: Hub, tmp_path: Path) -> Path:
    """Their merge."""
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(added("org/base", "org/tuned"))
    run_merge(recipe, tmp_path / "out", sync=False)
    return tmp_path / "out"


def test_models_of_the_hub_are_linked_with_their_commits(hub: Hub, folder: Path) -> None:
    draft = draft_card(folder, repo="org/merged")
    assert draft.warnings == ()
    card = ModelCard(draft.text)
    assert card.data.base_model == ["org/base", "org/tuned"]
    assert hub.repos["org/tuned"].commit in card.text
    assert "--source" not in card.text
    assert card.data.license == "other" and card.data.license_name == "ours"
    assert card.data.license_link.endswith(f"/org/base/blob/{hub.repos['org/base'].commit}/LICENSE")
    assert card.data.language == ["no"]  # YAML reads the Norwegians' code as false


def test_a_hub_that_has_no_card_leaves_the_licence_unknown(hub: Hub, folder: Path) -> None:
    del hub.repos["org/tuned"].files["README.md"]
    text = write_card(folder).read_text()
    assert "license: unknown" in text
    assert "none is known of org/tuned" in text
