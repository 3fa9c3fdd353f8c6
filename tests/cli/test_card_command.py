"""`weightlens card` on the command line."""

import json
from pathlib import Path

import pytest
from carded import copied, merged
from typer.testing import CliRunner

from weightlens_cli.main import app

runner = CliRunner()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A merge of models without cards."""
    home = tmp_path_factory.mktemp("cards")
    return merged(copied(home / "models", {}), home / "out")


def run(*arguments: str | Path) -> tuple[int, str]:
    done = runner.invoke(app, ["card", *map(str, arguments)])
    return done.exit_code, " ".join(done.output.split())


def test_it_writes_warns_and_checks(folder: Path) -> None:
    code, said = run(folder, "--json", folder.parent / "card.json")
    assert code == 0
    assert "warning: the licence is unknown" in said and "none is known of base" in said
    told = json.loads((folder.parent / "card.json").read_text())
    assert (told["schema"], told["licence"]) == ("weightlens.card/1", "unknown")
    assert run(folder, "--check")[0] == 1
    code, said = run(folder, "--license", "apache-2.0", "--name", "a fine merge")
    assert code == 0 and "its metadata is in order" in said
    assert "# a fine merge\n" in (folder / "README.md").read_text()
    assert run(folder, "--check")[0] == 0


def test_an_edited_card_is_asked_for_or_forced(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(folder, "--force")
    card = folder / "README.md"
    card.write_text(card.read_text() + "\nMine.\n")
    code, said = run(folder)
    assert code == 2 and "--force" in said
    asked = []
    monkeypatch.setattr("weightlens_cli.commands.card._agreed", lambda why: bool(asked.append(why)))
    assert run(folder)[0] == 2 and "was edited" in asked[0]
    monkeypatch.setattr("weightlens_cli.commands.card._agreed", lambda why: True)
    assert run(folder)[0] == 0 and "Mine." not in card.read_text()


def test_a_wrong_licence_is_a_fault_of_the_input(folder: Path) -> None:
    code, said = run(folder, "--license", "apache2")
    assert code == 2 and "did you mean 'apache-2.0'" in said
    assert run(folder, "--license-name", "ours")[0] == 2
