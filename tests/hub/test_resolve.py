"""Model references."""

import re
from pathlib import Path

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
    assert resolve(str(tmp_path / "a+b")).adapters == ()


def test_a_sum_of_paths_with_a_plus_in_some_names(tmp_path: Path) -> None:
    first, *others = folders = [tmp_path / name for name in ("base+1", "one", "t+w+o", "one")]
    for folder in folders:
        folder.mkdir(exist_ok=True)
    found = resolve("+".join(map(str, folders)))
    assert (found.path, found.adapters) == (first, tuple(others))
    assert found.folders == tuple(folders)
    assert found.commits == (None,) * 4


@pytest.mark.parametrize(
    ("existing", "reference", "terms"),
    [
        ("a b", "a+b", "a b"),
        ("a b a+b", "a+b", "a+b"),
        ("a b c a+b", "a+b+c", "a+b c"),
        ("a b+c a+b", "a+b+c", "a b+c"),  # a+b exists too, but then c would be an id on the Hub
        ("a b", "a+b+a", "a b a"),
    ],
)
def test_the_longest_path_that_exists_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, existing: str, reference: str, terms: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in existing.split():
        (tmp_path / name).mkdir()
    assert [str(folder) for folder in resolve(reference).folders] == terms.split()


def test_a_path_that_exists_wins_over_hub_ids_in_a_sum(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`base` and `1` could both be ids on the Hub."""
    monkeypatch.chdir(tmp_path)
    for name in ("base+1", "adapter"):
        (tmp_path / name).mkdir()
    assert resolve("base+1+adapter").folders == (Path("base+1"), Path("adapter"))


@pytest.mark.parametrize("rest", ["./no where", "", "+"])
def test_the_part_of_a_sum_that_is_missing_is_named(tmp_path: Path, rest: str) -> None:
    (tmp_path / "base+1").mkdir()
    with pytest.raises(ModelNotFound, match=rf"^'{re.escape(rest)}' in .*: no such folder"):
        resolve(f"{tmp_path / 'base+1'}+{rest}")


@pytest.mark.parametrize("reference", ["org/absent", "org/absent@main", "./nowhere", "a b", ""])
def test_what_is_neither_folder_nor_model_is_named(reference: str) -> None:
    """Offline, a Hub id that is not in the cache cannot be had; nothing is asked of the network."""
    with pytest.raises(ModelNotFound, match="no such folder"):
        resolve(reference)


def test_a_file_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(ModelNotFound, match="is a file"):
        resolve(str(tmp_path / "model.safetensors"))
