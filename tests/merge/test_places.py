"""`--source NAME=MODEL`: models that are to be had from elsewhere, and names that no recipe has."""

import shutil
from pathlib import Path

import pytest
from checkpoints import Folders
from typer.testing import CliRunner
from worded import added, linear

from weightlens.errors import InputError
from weightlens.merge.engine import run_merge
from weightlens.merge.foresight import plan_merge
from weightlens.merge.options import Options
from weightlens.merge.rebuilding import rebuild_merge
from weightlens_cli.main import app


@pytest.fixture
def recipe(tmp_path: Path, folders: Folders) -> Path:
    """Two recipes, the second with the first's result in a sum; their models are nowhere, but for
    the adapter."""
    first = linear("org/base", "org/tuned", name="first")
    text = f"{first}\n---\n{added('org/base', f'first+{folders.adapter}')}\n"
    (tmp_path / "recipe.yaml").write_text(text)
    return tmp_path / "recipe.yaml"


def moved(folders: Folders) -> dict[str, str]:
    return {"org/base": str(folders.base), "org/tuned": str(folders.full)}


def test_a_place_counts_in_every_recipe_of_a_file_and_for_a_term_of_a_sum(
    recipe: Path, folders: Folders, tmp_path: Path
) -> None:
    shutil.copytree(folders.adapter, tmp_path / "lora")
    places = moved(folders) | {str(folders.adapter): str(tmp_path / "lora")}
    shutil.rmtree(folders.adapter)
    assert len(plan_merge(recipe, places=places)) == 2
    assert run_merge(recipe, tmp_path / "out", places=places).tensors


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("org/tunde", "called 'org/tunde'; did you mean 'org/tuned'"),
        ("org/base+org/tuned", "called 'org/base.org/tuned'; did you mean 'org/tuned'"),
        ("first", "called 'first'; there are org/base, org/tuned, first.*adapter"),
        ("", "called ''; there are org/base"),
    ],
)
def test_a_place_of_what_no_recipe_names_is_an_error(
    name: str, said: str, recipe: Path, folders: Folders, tmp_path: Path
) -> None:
    places = moved(folders) | {name: str(folders.full)}
    for attempt in (plan_merge, run_merge):
        with pytest.raises(InputError, match=f"^{name.replace('+', '.')}=.*{said}"):
            attempt(recipe, tmp_path / "out", places=places)
    assert not list(tmp_path.glob("out*"))


def test_a_record_takes_the_names_of_its_card_too_and_no_others(
    folders: Folders, tmp_path: Path
) -> None:
    (tmp_path / "recipe.yaml").write_text(added(folders.base, folders.full))
    run_merge(tmp_path / "recipe.yaml", tmp_path / "out")
    record, elsewhere = tmp_path / "out" / "weightlens.json", tmp_path / "elsewhere"
    folders.full.rename(elsewhere)
    with pytest.raises(InputError, match="called 'fulll'; did you mean 'full'"):
        rebuild_merge(record, tmp_path / "again", options=Options(places={"fulll": "x"}))
    for name in (folders.full.name, str(folders.full)):
        given = ["merge", str(record), str(tmp_path / "again"), "--source", f"{name}={elsewhere}"]
        planned = CliRunner().invoke(app, [*given, "--dry-run"])
        assert planned.exit_code == 0, planned.output
    wrong = CliRunner().invoke(app, [*given[:3], "--source", f"fulll={elsewhere}", "--dry-run"])
    assert wrong.exit_code == 2 and "did you mean" in wrong.output
    assert rebuild_merge(record, tmp_path / "again", options=Options(places={name: str(elsewhere)}))
