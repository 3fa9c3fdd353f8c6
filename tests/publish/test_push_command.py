"""`weightlens push` and `merge --push`: what is printed where, and how they end."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from checkpoints import Folders
from huggingface_hub.utils import are_progress_bars_disabled
from loopback import CUT, Answer, Asked, Hub
from loopback_uploads import Uploads
from published import CARD, arrived
from typer.testing import CliRunner

import weightlens
from weightlens_cli.main import app

runner = CliRunner()


def test_a_push_prints_the_address_of_the_commit(hub: Hub, model: Path) -> None:
    done = runner.invoke(app, ["push", str(model), "org/m"])
    assert done.exit_code == 0, done.output
    address = f"{hub.url}/org/m/commit/{hub.repos['org/m'].commit}"
    assert f"commit: {address}\nSizes and hashes there are those here." in done.stdout
    assert "made for it, public" in done.stdout
    assert not are_progress_bars_disabled()


def test_a_dry_run_prints_what_would_go_and_what_stays(hub: Hub, model: Path) -> None:
    (model / "eval.json").write_text("{}")
    done = runner.invoke(app, ["push", str(model), "org/m", "--private", "--dry-run"])
    assert done.exit_code == 0, done.output
    for words in ("model-00001-of-00002.safetensors", "25,880", "LFS", "README.md", "eval.json",
                  "to org/m@main, which would be made, private", "Nothing was sent"):  # fmt: skip
        assert words in done.stdout
    assert hub.repos == {}


def test_json_to_standard_output_is_the_report_alone(hub: Hub, model: Path) -> None:
    done = runner.invoke(app, ["push", str(model), "org/m", "--json", "-"])
    report = json.loads(done.stdout)
    assert (report["schema"], report["repo"]) == ("weightlens.push/1", "org/m")
    assert report["commit"] == hub.repos["org/m"].commit


def test_options_go_through(hub: Hub, model: Path) -> None:
    push = ["push", str(model), "org/m"]
    assert runner.invoke(app, [*push, "--revision", "v2", "--message", "Two"]).exit_code == 0
    assert arrived(hub, "org/m", model, "v2")
    done = runner.invoke(app, [*push, "--create-pr"])
    assert f"pull request: {hub.url}/org/m/discussions/1" in done.stdout


def test_a_refused_folder_ends_with_2_and_one_line(hub: Hub, model: Path) -> None:
    (model / "README.md").unlink()
    done = runner.invoke(app, ["push", str(model), "org/m"])
    assert done.exit_code == 2
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert "write one by hand, with a licence" in done.stderr


def test_what_arrives_otherwise_ends_with_1(hub: Hub, uploads: Uploads, model: Path) -> None:
    uploads._apply = lambda files, key, said: None  # type: ignore[method-assign]
    done = runner.invoke(app, ["push", str(model), "org/m"])
    assert (done.exit_code, hub.repos["org/m"].private) == (1, False)
    assert "check failed: " in done.stderr and "README.md is missing" in done.stderr


def test_another_process_pushes_in_silence(hub: Hub, model: Path, tmp_path: Path) -> None:
    """The client itself, as a user has it, without a terminal."""
    code = f"from weightlens_cli.main import app; app(['push', {str(model)!r}, 'org/m'])"
    environment = os.environ | hub.environment(tmp_path / "cache") | {"HF_TOKEN": Hub.TOKEN}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert arrived(hub, "org/m", model)


@pytest.fixture
def recipe(folders: Folders, tmp_path: Path) -> Path:
    file = tmp_path / "recipe.yaml"
    file.write_text(
        f"merge_method: linear\nmodels:\n- model: {folders.base}\n  parameters: {{weight: 0.5}}\n"
        f"- model: {folders.full}\n  parameters: {{weight: 0.5}}\n"
    )
    return file


@pytest.fixture
def carded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The card is written as the report would."""
    from weightlens.publish import carding

    def write(folder: Path, repo: str) -> None:
        (folder / "README.md").write_text(CARD)

    monkeypatch.setattr(carding, "write_card", write)


@pytest.mark.usefixtures("carded")
def test_a_merge_goes_the_whole_way(hub: Hub, recipe: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = runner.invoke(app, ["merge", str(recipe), str(out), "--push", "org/m", "--private"])
    assert done.exit_code == 0, done.output
    assert f"commit: {hub.url}/org/m/commit/" in done.stdout
    assert "warning: weightlens.json names folders of this machine" in done.stdout
    assert arrived(hub, "org/m", out) and hub.repos["org/m"].private


def test_a_merge_is_not_begun_that_could_not_be_pushed(
    hub: Hub, uploads: Uploads, recipe: Path, tmp_path: Path
) -> None:
    uploads.role = "read"
    done = runner.invoke(app, ["merge", str(recipe), str(tmp_path / "out"), "--push", "org/m"])
    assert (done.exit_code, (tmp_path / "out").exists()) == (2, False)
    assert "your token can read only" in done.stderr


def test_merge_card_and_upload_in_one_go_and_the_merge_again_from_what_arrived(
    hub: Hub, folders: Folders, recipe: Path, tmp_path: Path
) -> None:
    """The card is the report's own; its licence is that of both sources."""
    for source in (folders.base, folders.full):
        (source / "README.md").write_text("---\nlicense: mit\n---\n")
    out, record = tmp_path / "out", tmp_path / "there" / "weightlens.json"
    done = runner.invoke(app, ["merge", str(recipe), str(out), "--push", "org/m"])
    assert done.exit_code == 0, done.output
    assert arrived(hub, "org/m", out)
    assert "license: mit" in (out / "README.md").read_text()
    record.parent.mkdir()
    record.write_bytes(hub.repos["org/m"].files["weightlens.json"])
    again = runner.invoke(app, ["merge", str(record), str(tmp_path / "again")])
    assert again.exit_code == 0 and "The same 21 tensors" in again.output, again.output


@pytest.mark.usefixtures("carded")
def test_a_merge_whose_push_breaks_off_says_how_to_go_on(
    hub: Hub, recipe: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"

    def lost(asked: Asked, answered: Callable[[], Answer]) -> Answer:
        return CUT if "/commit/" in asked.path else answered()

    hub.trouble = lost
    done = runner.invoke(app, ["merge", str(recipe), str(out), "--push", "org/m", "--private"])
    assert done.exit_code == 2
    assert f"to push it: weightlens push {out} org/m --private" in done.stderr
    hub.trouble = lambda asked, answered: answered()
    assert runner.invoke(app, ["push", str(out), "org/m", "--private"]).exit_code == 0
    assert arrived(hub, "org/m", out)


def test_python_has_the_same(hub: Hub, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = weightlens.plan_push(model, "org/m")
    report = weightlens.push(str(model), "org/m")
    assert [f.path for f in plan.files] == [f.path for f in report.files]
    assert isinstance(report, weightlens.PushReport)


def test_weights_that_are_not_those_of_the_record_are_not_sent(
    hub: Hub, recipe: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert runner.invoke(app, ["merge", str(recipe), str(out)]).exit_code == 0
    (out / "README.md").write_text(CARD)
    weights = bytearray((out / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (out / "model.safetensors").write_bytes(weights)
    done = runner.invoke(app, ["push", str(out), "org/m"])
    assert done.exit_code == 2
    assert "not as it was merged: tensors: 1 differ" in done.stderr
    assert "nothing was sent" in done.stderr
    assert hub.repos == {}
