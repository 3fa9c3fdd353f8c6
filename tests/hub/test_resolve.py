"""Model references."""

from pathlib import Path

import huggingface_hub
import pytest

from weightlens.errors import ModelNotFound
from weightlens.hub import Resolved, resolve


def test_a_path_that_exists_wins_over_a_hub_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "org" / "model").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert resolve("org/model") == Resolved("org/model", Path("org/model"))


def test_a_path_with_a_plus_in_its_name_is_a_path(tmp_path: Path) -> None:
    (tmp_path / "a+b").mkdir()
    assert resolve(str(tmp_path / "a+b")).adapter is None


def test_base_plus_adapter(tmp_path: Path) -> None:
    for name in ("base+1", "adapter"):
        (tmp_path / name).mkdir()
    reference = f"{tmp_path / 'base+1'}+{tmp_path / 'adapter'}"
    found = resolve(reference)
    assert (found.path, found.adapter) == (tmp_path / "base+1", tmp_path / "adapter")


def test_a_hub_id_is_downloaded_at_its_revision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, object] = {}

    def download(repo: str, **settings: object) -> str:
        asked.update(settings, repo=repo)
        return str(tmp_path / "0123abc")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    found = resolve("org/model@v1.2")
    assert (asked["repo"], asked["revision"]) == ("org/model", "v1.2")
    assert (found.label, found.commit) == ("org/model@v1.2", "0123abc")


@pytest.mark.parametrize("reference", ["org/absent", "org/absent@main", "./nowhere", "a b", ""])
def test_what_is_neither_folder_nor_model_is_named(reference: str) -> None:
    """Offline, a Hub id that is not in the cache cannot be had; nothing is asked of the network."""
    with pytest.raises(ModelNotFound, match="no such folder"):
        resolve(reference)


def test_a_file_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(ModelNotFound, match="is a file"):
        resolve(str(tmp_path / "model.safetensors"))
